"""Dropout masks: a function of positions alone, of the right rate, and right in its gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plait.random.mask import dropout, keep_mask
from plait.random.words import stream_key, words

KEY = stream_key(0, "layers.3.dropout", 17)


@given(data=st.data(), probability=st.floats(0, 0.999))
def test_any_part_of_the_positions_has_its_part_of_the_mask(data: st.DataObject, probability: float) -> None:
    positions = torch.arange(4 * 6 * 10).view(4, 6, 10)
    cut = tuple(slice(*sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n))))) for n in (4, 6, 10))
    assert torch.equal(keep_mask(KEY, positions[cut], probability), keep_mask(KEY, positions, probability)[cut])


def test_a_large_mask_equals_its_parts() -> None:
    positions = torch.arange(200_003)
    whole = keep_mask(KEY, positions, 0.4)
    assert torch.equal(whole[1::3], keep_mask(KEY, positions[1::3], 0.4))
    assert keep_mask(KEY, positions[:0].view(0, 4), 0.4).shape == (0, 4)


@pytest.mark.parametrize("probability", [0.0, 1e-4, 0.1, 0.5, 0.9, 1 - 2**-53])
def test_the_rate_of_dropping(probability: float) -> None:
    count = 1 << 20
    dropped = count - int(keep_mask(KEY, torch.arange(count), probability).sum())
    assert abs(dropped - probability * count) <= 5 * (probability * (1 - probability) * count) ** 0.5


def test_a_value_is_dropped_where_its_word_is_small() -> None:
    signed = words(KEY, np.arange(1000, dtype=np.uint64)).view(np.int64)
    expected = (signed.astype(np.float64) + 2.0**63) / 2.0**64 >= 0.3
    assert np.array_equal(keep_mask(KEY, torch.arange(1000), 0.3).numpy(), expected)


def test_masks_of_two_steps_are_independent() -> None:
    first, second = (keep_mask(stream_key(0, "a", step), torch.arange(1 << 18), 0.5).double() for step in (0, 1))
    assert abs(((first - 0.5) * (second - 0.5)).mean() * 4) < 5 / 2**9


def test_dropout_keeps_scales_and_zeroes_and_so_does_its_gradient() -> None:
    x = torch.randn(8, 32, dtype=torch.float64, requires_grad=True)
    positions = torch.arange(256).view(8, 32)
    y = dropout(x, KEY, positions, 0.25)
    kept = keep_mask(KEY, positions, 0.25)
    assert torch.equal(y, torch.where(kept, x * (1 / 0.75), 0.0))
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, kept.double() * (1 / 0.75))


def test_dropout_saves_one_byte_a_value() -> None:
    saved: list[torch.Tensor] = []
    x = torch.randn(8, 32, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        dropout(x, KEY, torch.arange(256).view(8, 32), 0.25)
    assert sum(tensor.numel() * tensor.element_size() for tensor in saved) == 256


def test_dropout_of_nothing_is_the_identity() -> None:
    x = torch.randn(3)
    assert dropout(x, KEY, torch.arange(3), 0.0) is x
    assert bool(keep_mask(KEY, torch.arange(1000), 0.0).all())


@pytest.mark.parametrize("probability", [-0.1, 1.0, 1.5, float("nan")])
def test_a_rate_that_is_no_probability_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match=r"not in \[0, 1\)"):
        keep_mask(KEY, torch.arange(3), probability)

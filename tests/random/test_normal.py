"""Normal values: any box equals that slice of the whole, bit for bit, and the distribution is normal."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plait.random import normal
from plait.random.normal import normal_box, normal_values
from plait.random.words import words

DTYPES = [torch.float64, torch.float32, torch.bfloat16]


def whole(key: int, shape: tuple[int, ...], dtype: torch.dtype = torch.float64, std: float = 0.02) -> torch.Tensor:
    return normal_box(key, shape, tuple((0, size) for size in shape), std=std, dtype=dtype)


def sliced(tensor: torch.Tensor, box: tuple[tuple[int, int], ...]) -> torch.Tensor:
    return tensor[tuple(slice(first, last) for first, last in box)] if box else tensor


@st.composite
def shapes_and_boxes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    shape = tuple(draw(st.lists(st.integers(1, 13), max_size=4)))
    edges = [sorted((draw(st.integers(0, size)), draw(st.integers(0, size)))) for size in shape]
    return shape, tuple((first, last) for first, last in edges)


@pytest.mark.parametrize("dtype", DTYPES)
@given(case=shapes_and_boxes(), key=st.integers(0, (1 << 64) - 1))
def test_a_box_equals_the_slice_of_the_whole(
    dtype: torch.dtype, case: tuple[tuple[int, ...], tuple[tuple[int, int], ...]], key: int
) -> None:
    shape, box = case
    part = normal_box(key, shape, box, std=0.02, dtype=dtype)
    assert part.dtype == dtype
    assert torch.equal(part, sliced(whole(key, shape, dtype), box))


@pytest.mark.parametrize("shape", [(300, 257), (3, 50021), (131101,), (2, 3, 30011), (1003, 119)])
def test_a_box_of_several_chunks_equals_the_slice(shape: tuple[int, ...]) -> None:
    everything = whole(11, shape, torch.float32)
    generator = np.random.default_rng(0)
    for _ in range(12):
        box = tuple(tuple(sorted(generator.integers(0, size + 1, 2).tolist())) for size in shape)
        assert torch.equal(normal_box(11, shape, box, std=0.02, dtype=torch.float32), sliced(everything, box))


def test_the_size_of_a_chunk_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = whole(3, (37, 41))
    for chunk in (1, 7, 40, 41, 83):
        monkeypatch.setattr(normal, "_CHUNK", chunk)
        assert torch.equal(whole(3, (37, 41)), everything)


def test_the_values_are_box_and_mullers() -> None:
    positions = np.arange(5000, dtype=np.uint64)
    expected = []
    for first, second in words(9, np.arange(10_000, dtype=np.uint64)).reshape(-1, 2).tolist():
        u, v = ((first >> 11) + 1) * 2.0**-53, (second >> 11) * 2.0**-53 - 0.5
        expected.append(math.sqrt(-2 * math.log(u)) * math.sin(math.pi * v))
    np.testing.assert_allclose(normal_values(9, positions), expected, rtol=2e-15, atol=0)


@pytest.mark.parametrize("u", [2.0**-53, 0.5, 0.5**0.5, 1 - 2.0**-10, 1 - 2.0**-53, 1.0])
def test_the_ends_of_the_logarithm(u: float) -> None:
    assert normal._log(np.array([u]))[0] == pytest.approx(math.log(u), rel=5e-16, abs=0)


def test_the_ends_of_the_words_give_finite_values(monkeypatch: pytest.MonkeyPatch) -> None:
    for first in (0, (1 << 64) - 1):
        for second in (0, (1 << 64) - 1):
            pair = iter((first, second))
            monkeypatch.setattr(normal, "words", lambda *_, pair=pair: np.array([next(pair)], dtype=np.uint64))
            assert abs(normal_values(0, np.zeros(1, dtype=np.uint64))[0]) < 8.6  # sqrt(-2 ln 2**-53)


def test_the_distribution_is_normal() -> None:
    count = 1 << 20
    values = np.sort(normal_values(2, np.arange(count, dtype=np.uint64)))
    distribution = 0.5 * (1 + np.vectorize(math.erf)(values[::64] / math.sqrt(2)))
    assert np.abs(distribution - np.arange(0, count, 64) / count).max() < 1.95 / math.sqrt(count)  # Kolmogorov, 0.1 %
    assert abs(values.mean()) < 5 / math.sqrt(count)
    assert abs(values.std() - 1) < 5 / math.sqrt(2 * count)
    assert values[0] < -4.5
    assert values[-1] > 4.5


def test_neighbours_are_not_correlated() -> None:
    values = normal_values(4, np.arange(1 << 18, dtype=np.uint64))
    for lag in (1, 2, 3, 64, 1000):
        assert abs((values[lag:] * values[:-lag]).mean()) < 5 / math.sqrt(len(values))


def test_std_scales_and_keys_differ() -> None:
    assert torch.equal(whole(1, (5, 7), std=0.5), whole(1, (5, 7), std=1.0) * 0.5)
    assert not torch.equal(whole(1, (5, 7)), whole(2, (5, 7)))
    assert not torch.equal(whole(1, (5, 7)).flatten()[:5], whole(1, (5, 7)).flatten()[5:10])


def test_float32_is_the_rounded_float64() -> None:
    for dtype in DTYPES:
        assert torch.equal(whole(6, (9, 31), dtype), whole(6, (9, 31)).to(dtype))


@pytest.mark.parametrize("box", [((0, 3),), ((0, 3), (0, 5)), ((-1, 2), (0, 4)), ((2, 1), (0, 4))])
def test_a_box_outside_the_shape_is_refused(box: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match="does not lie within"):
        normal_box(0, (3, 4), box, std=1.0, dtype=torch.float32)


def test_a_small_box_of_a_huge_tensor_needs_little_memory() -> None:
    tracemalloc.start()
    part = normal_box(0, (1 << 20, 1 << 20), ((1000, 1010), (77, 100077)), std=1.0, dtype=torch.float32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert part.shape == (10, 100000)
    assert peak < 3 << 20

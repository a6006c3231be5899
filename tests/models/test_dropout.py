"""Dropout does not depend on how a batch is cut, is drawn anew each step, and is off outside training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.models.attend import Attend, AttentionForm
from plait.models.dropout import Dropout
from plait.models.sequences import Sequences
from plait.random.mask import keep_mask
from plait.random.words import stream_key
from plait.specs.model import ModelSpec
from tests.models.shapes import GPT2, LLAMA, batch, decoder

HIDDEN = 40
DROPPING = replace(GPT2, dropout=0.2)


def dropout(probability: float = 0.3, name: str = "here", seed: int = 1) -> Dropout:
    return Dropout(name, probability=probability, span=100, seed=seed)


def sequences(samples: list[int], positions: range, step: int = 0) -> Sequences:
    return Sequences(
        tokens=None, positions=torch.tensor(list(positions))[None], samples=torch.tensor(samples), step=step
    )


def mask(drop: Dropout, those: Sequences, hidden: int = HIDDEN) -> torch.Tensor:
    return drop(torch.ones(len(those.samples), those.positions.shape[1], hidden), those)


@given(
    samples=st.lists(st.integers(0, 50), min_size=1, max_size=5, unique=True),
    start=st.integers(0, 20),
    length=st.integers(1, 20),
)
@settings(max_examples=30)
def test_a_part_of_a_batch_drops_as_the_whole_does(samples: list[int], start: int, length: int) -> None:
    whole = mask(dropout(), sequences(list(range(51)), range(41)))
    part = mask(dropout(), sequences(samples, range(start, start + length)))
    assert torch.equal(part, whole[samples, start : start + length])


def test_the_position_of_a_value_is_what_it_is_said_to_be() -> None:
    sample, token, feature = 7, 9, 11
    position = torch.tensor((sample * 100 + token) * HIDDEN + feature)
    kept = keep_mask(stream_key(1, "here", 3), position, 0.3)
    assert (mask(dropout(), sequences([sample], range(token, token + 1), step=3))[0, 0, feature] > 0) == kept


def test_the_rate_and_the_scale() -> None:
    values = mask(dropout(), sequences(list(range(50)), range(100)))
    assert values.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    # 200,000 draws at 0.3: a standard deviation is 0.001
    assert (values == 0).double().mean().item() == pytest.approx(0.3, abs=0.005)


def test_seed_name_and_step_each_draw_anew() -> None:
    those = sequences([0, 1], range(50))
    first = mask(dropout(), those)
    assert torch.equal(first, mask(dropout(), those))
    for other in (mask(dropout(seed=2), those), mask(dropout(name="there"), those)):
        assert not torch.equal(first, other)
    assert not torch.equal(first, mask(dropout(), sequences([0, 1], range(50), step=1)))


def test_who_holds_a_share_of_the_rows_drops_as_the_whole_does() -> None:
    those, sharing = sequences([0, 1], range(10)), dropout()
    sharing.share = lambda rows: rows[:, 4:7]
    whole = mask(dropout(), those)
    assert torch.equal(sharing(torch.ones(2, 3, HIDDEN), those), whole[:, 4:7])


def test_it_is_off_in_evaluation_and_at_zero() -> None:
    x, those = torch.randn(1, 5, HIDDEN), sequences([0], range(5))
    assert dropout(0.0)(x, those) is x
    assert dropout().eval()(x, those) is x
    made = decoder(DROPPING)
    plain = decoder(GPT2)
    assert made.eval()(batch(GPT2)) == plain(batch(GPT2))
    assert made.train()(batch(GPT2)) != plain(batch(GPT2))


def test_every_place_of_a_model_has_a_name_of_its_own() -> None:
    names = [module.name for module in decoder(DROPPING).modules() if isinstance(module, Dropout)]
    assert len(names) == len(set(names)) == 1 + 3 * GPT2.layers


@pytest.mark.parametrize("family", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_a_model_drops_alike_however_its_batch_is_cut(family: ModelSpec) -> None:
    spec = replace(family, dropout=0.2)
    made, whole = decoder(spec), batch(spec, step=4)
    parts = made(whole.rows(0, 1)) + made(whole.rows(1, 3))
    torch.testing.assert_close(made(whole), parts, rtol=1e-13, atol=0)
    assert made(whole) != made(replace(whole, step=5))


def form(probability: float) -> AttentionForm:
    return AttentionForm(heads=6, dropout=dropout(probability))


def test_attention_probabilities_are_dropped_by_their_global_positions() -> None:
    those, sample, head, query, key = sequences([3, 5], range(8)), 5, 4, 7, 2
    weights = torch.ones(2, 2, 8, 8)
    dropped = form(0.3).dropout.attention(weights, those, heads=6, first_head=3)
    position = torch.tensor(((sample * 6 + head) * 100 + query) * 100 + key)
    assert (dropped[1, 1, query, key] > 0) == keep_mask(stream_key(1, "here", 0), position, 0.3)
    whole = form(0.3).dropout.attention(torch.ones(2, 6, 8, 8), those, heads=6, first_head=0)
    assert torch.equal(dropped, whole[:, 3:5])


@pytest.mark.parametrize("kv_heads", [6, 2])
def test_attention_written_out_equals_the_fused_kernel(kv_heads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(2, 8, heads, 4, dtype=torch.float64, generator=generator) for heads in (6, kv_heads, kv_heads)
    )
    those = sequences([3, 5], range(8))
    never = form(1e-15)  # so rarely that nothing is dropped, yet written out
    assert never.dropout.active
    written_out = Attend()(q, k, v, those, never)
    torch.testing.assert_close(written_out, Attend()(q, k, v, those, form(0.0)), rtol=1e-13, atol=1e-14)
    everything = replace(never, causal=False)
    torch.testing.assert_close(
        Attend()(q, k, v, those, everything), Attend()(q, k, v, those, replace(form(0.0), causal=False))
    )

"""The cache: what a step says that it reads and writes, and what it then does."""

from __future__ import annotations

import pytest
import torch

from plait.inference.kv_cache import KVCache
from plait.models.attend import Attend, AttentionForm
from plait.models.dropout import Dropout
from plait.models.sequences import Sequences
from plait.specs.model import ModelSpec
from tests.inference.models import GPT2, LLAMA

FORM = AttentionForm(heads=4, dropout=Dropout("none", probability=0.0, span=12, seed=0))
BOUND = {"rtol": 1e-13, "atol": 1e-14}


def made(spec: ModelSpec, *, rows: int = 2) -> KVCache:
    return KVCache(spec, rows=rows, slots=10, dtype=torch.float64)


def heads(spec: ModelSpec, batch: int, length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random q, k and v."""
    generator = torch.Generator().manual_seed(5)
    counts = (spec.heads, spec.kv_heads, spec.kv_heads)
    q, k, v = (
        torch.randn(batch, length, count, spec.head_dim, generator=generator, dtype=torch.float64) for count in counts
    )
    return q, k, v


def sequences(cache: KVCache, rows: list[int], starts: list[int], count: int) -> Sequences:
    reach = cache.begin(rows, starts, count)
    return Sequences(tokens=None, positions=reach.positions, samples=torch.zeros(len(rows), dtype=torch.int64))


@pytest.mark.parametrize("spec", [GPT2, LLAMA], ids=["all heads", "grouped"])
@pytest.mark.parametrize("cuts", [[6], [1] * 6, [3, 1, 2], [1, 5]])
def test_parts_of_a_sequence_are_the_whole(spec: ModelSpec, cuts: list[int]) -> None:
    q, k, v = heads(spec, 2, 6)
    whole = Attend()(q, k, v, Sequences.of(torch.zeros(2, 6, dtype=torch.int64)), FORM)
    cache, parts, start = made(spec), [], 0
    for count in cuts:
        at = sequences(cache, [0, 1], [start, start], count)
        parts.append(cache.slot(1)(*(x[:, start : start + count] for x in (q, k, v)), at, FORM))
        start += count
    torch.testing.assert_close(torch.cat(parts, 1), whole, **BOUND)


@pytest.mark.parametrize("spec", [GPT2, LLAMA], ids=["all heads", "grouped"])
@pytest.mark.parametrize("count", [1, 2])
def test_rows_may_stand_at_different_positions(spec: ModelSpec, count: int) -> None:
    q, k, v = heads(spec, 2, 6)
    whole = Attend()(q, k, v, Sequences.of(torch.zeros(2, 6, dtype=torch.int64)), FORM)
    cache, lengths = made(spec), [4, 1]
    for row, length in enumerate(lengths):  # each row alone, then both at once
        first = [x[row : row + 1, :length] for x in (q, k, v)]
        cache.slot(0)(*first, sequences(cache, [row], [0], length), FORM)
    index = torch.tensor(lengths)[:, None] + torch.arange(count)
    new = [x[torch.arange(2)[:, None], index] for x in (q, k, v)]
    together = cache.slot(0)(*new, sequences(cache, [0, 1], lengths, count), FORM)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(together[row], whole[row, length : length + count], **BOUND)


def test_some_rows_leave_the_others_alone() -> None:
    q, k, v = heads(GPT2, 3, 3)
    cache = made(GPT2, rows=3)
    cache.slot(0)(q, k, v, sequences(cache, [0, 1, 2], [0, 0, 0], 3), FORM)
    before = cache._keys[:, 1].clone()
    cache.slot(0)(q[1:, :1], k[1:, :1], v[1:, :1], sequences(cache, [0, 2], [3, 3], 1), FORM)
    assert torch.equal(cache._keys[:, 1], before)
    assert torch.equal(cache._keys[0, 2, :, 3], k[2, 0])
    assert torch.equal(cache._values[0, 0, :, 3], v[1, 0])


def test_a_block_has_its_own_keys() -> None:
    q, k, v = heads(GPT2, 2, 3)
    cache = made(GPT2)
    cache.slot(1)(q, k, v, sequences(cache, [0, 1], [0, 0], 3), FORM)
    assert not cache._keys[0].any()
    assert torch.equal(cache._keys[1, :, :, :3], k.transpose(1, 2))


def test_what_a_sequence_before_it_left_is_never_read() -> None:
    q, k, v = heads(GPT2, 2, 6)
    fresh, used = made(GPT2), made(GPT2)
    used.slot(0)(q * 7, k * 7, v * 7, sequences(used, [0, 1], [0, 0], 6), FORM)
    for start, count in ((0, 2), (2, 1), (3, 2)):
        new = [x[:, start : start + count] for x in (q, k, v)]
        expected = fresh.slot(0)(*new, sequences(fresh, [0, 1], [start, start], count), FORM)
        assert torch.equal(used.slot(0)(*new, sequences(used, [0, 1], [start, start], count), FORM), expected)


def test_positions_are_said_once_where_they_are_the_same() -> None:
    cache = made(GPT2)
    assert cache.begin([0, 1], [4, 4], 2).positions.tolist() == [[4, 5]]
    assert cache.begin([0, 1], [4, 1], 2).positions.tolist() == [[4, 5], [1, 2]]


def test_its_bytes() -> None:
    assert made(LLAMA).nbytes == 2 * 2 * 2 * 2 * 10 * 6 * 8  # k and v, blocks, rows, kv heads, slots, head_dim, float64


def test_a_step_begins_by_saying_so() -> None:
    with pytest.raises(ValueError, match="begins with `begin`"):
        made(GPT2).slot(0)(*heads(GPT2, 2, 1), Sequences.of(torch.zeros(2, 1, dtype=torch.int64)), FORM)

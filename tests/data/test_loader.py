"""Batches: each sample once an epoch, whatever the ranks, the batch and where one starts; targets counted globally."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plait.data.dataset import TokenPart
from plait.data.loader import Batch, Loader, samples_of_step, validation_batches
from plait.models.loss import IGNORED


def part(count: int) -> TokenPart:
    return TokenPart(tokens=np.arange(1000, 1000 + count, dtype=np.uint16), text_bytes=3 * count)


def loader(count: int = 101, *, sequence_length: int = 10, global_batch: int = 6, seed: int = 0) -> Loader:
    return Loader(part=part(count), sequence_length=sequence_length, global_batch=global_batch, seed=seed)


def joined(batches: list[Batch]) -> dict[str, torch.Tensor]:
    names = ("tokens", "targets", "samples")
    return {name: torch.cat([getattr(batch, name) for batch in batches]) for name in names}


@given(size=st.integers(1, 60), batch=st.integers(1, 90), seed=st.integers(0, 5))
def test_every_epoch_holds_each_sample_once_also_within_a_batch(size: int, batch: int, seed: int) -> None:
    steps = -(-3 * size // batch)
    order = np.concatenate([samples_of_step(step, batch, size, seed) for step in range(steps)])
    for epoch in range(3):
        assert sorted(order[epoch * size : (epoch + 1) * size].tolist()) == list(range(size))


@given(size=st.integers(1, 60), batch=st.integers(1, 30), step=st.integers(0, 10**12))
def test_the_order_does_not_depend_on_the_batch(size: int, batch: int, step: int) -> None:
    one_by_one = [samples_of_step(step * batch + row, 1, size, 7)[0] for row in range(batch)]
    assert samples_of_step(step, batch, size, 7).tolist() == one_by_one


def test_epochs_and_seeds_are_shuffled_differently() -> None:
    orders = [samples_of_step(step, 50, 50, seed).tolist() for seed in (0, 1) for step in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert all(order != sorted(order) for order in orders)


def test_a_dataset_without_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        samples_of_step(0, 4, 0, 0)


def test_rows_are_windows_and_targets_the_next_tokens() -> None:
    batch = loader().batch(0, 0, 6)
    assert {tensor.dtype for tensor in joined([batch]).values()} == {torch.int64}
    assert batch.tokens.shape == batch.targets.shape == (6, 10)
    assert torch.equal(batch.targets, batch.tokens + 1)  # the text counts upwards
    assert torch.equal((batch.tokens[:, 0] - 1000) // 10, torch.from_numpy(samples_of_step(0, 6, 10, 0)))
    assert batch.target_count == 60


def test_an_epoch_trains_on_each_target_once() -> None:
    targets = torch.cat([loader(106, global_batch=5).batch(step, 0, 5).targets for step in range(2)])
    assert sorted(targets.flatten().tolist()) == list(range(1001, 1101))


@given(cuts=st.lists(st.integers(0, 6), max_size=5), step=st.integers(0, 50))
def test_the_rows_of_any_ranks_are_together_the_global_batch(cuts: list[int], step: int) -> None:
    edges = [0, *sorted(cuts), 6]
    parts = [loader().batch(step, start, stop) for start, stop in pairwise(edges)]
    whole = joined([loader().batch(step, 0, 6)])
    for name, tensor in joined(parts).items():
        assert torch.equal(tensor, whole[name])
    assert {batch.target_count for batch in parts} == {60}


def test_sample_numbers_run_on_through_the_steps() -> None:
    numbers = [number for step in range(5) for number in loader().batch(step, 0, 6).samples.tolist()]
    assert numbers == list(range(30))


@given(count=st.integers(2, 60), length=st.integers(1, 12), batch=st.integers(1, 5))
def test_validation_asks_for_each_token_but_the_first_once(count: int, length: int, batch: int) -> None:
    batches = list(validation_batches(part(count), sequence_length=length, global_batch=batch))
    targets = torch.cat([each.targets for each in batches])
    asked = targets[targets != IGNORED]
    assert asked.tolist() == list(range(1001, 1000 + count))
    tokens = torch.cat([each.tokens for each in batches])
    assert torch.equal(tokens[targets != IGNORED], asked - 1)
    assert [each.target_count for each in batches] == [int((each.targets != IGNORED).sum()) for each in batches]
    assert {each.tokens.shape for each in batches} == {(batch, length)}


@pytest.mark.parametrize(("limit", "targets"), [(0, 0), (1, 10), (7, 70), (10, 100), (11, 105), (99, 105)])
def test_validation_stops_after_the_sequences_asked_for(limit: int, targets: int) -> None:
    batches = list(validation_batches(part(106), sequence_length=10, global_batch=4, max_sequences=limit))
    assert sum(batch.target_count for batch in batches) == targets


def test_validation_rows_of_ranks_are_together_the_batch_and_count_alike() -> None:
    def batches(start: int, stop: int | None) -> list[Batch]:
        return list(validation_batches(part(57), sequence_length=10, global_batch=4, start=start, stop=stop))

    for left, right, whole in zip(batches(0, 3), batches(3, 4), batches(0, None), strict=True):
        assert left.target_count == right.target_count == whole.target_count
        for name, tensor in joined([left, right]).items():
            assert torch.equal(tensor, joined([whole])[name])


def test_a_large_order_visits_all_before_any_twice() -> None:
    first = np.concatenate([samples_of_step(step, 1000, 10_007, 3) for step in range(10)])
    assert len(set(first.tolist())) == 10_000

"""What plans have in common a search works out once: its effort grows with what differs, not with plans times ranks."""

from __future__ import annotations

import gc
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module

import pytest

from plait.errors import IllegalJob
from plait.planner.search import search
from plait.sharding.buckets import bucket_boundaries
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.training import TrainingSpec
from tests.planner.machines import machine
from tests.planner.test_search import MODEL

MACHINE = machine(latency=1e-5, cores=2, dispatch=2e-6)
LAID_OUT = ("plait.planner.holding.stages_weights", "plait.planner.holding.kept_weights")
HELD = ("plait.planner.memory._standing",)
PLAYED = ("plait.planner.playing.perform",)


def counted(monkeypatch, places):
    """How often each of these functions is called from now on, by name."""
    calls: Counter[str] = Counter()

    def counting(name, real):
        def called(*some, **more):
            calls[name] += 1
            return real(*some, **more)

        return called

    for place in places:
        module, name = place.rsplit(".", 1)
        monkeypatch.setattr(place, counting(name, getattr(import_module(module), name)))
    return calls


def searched(ranks, vocab):
    """A model that no other test has: of it nothing is known yet."""
    training = TrainingSpec(global_batch=2 * ranks, sequence_length=32)
    model = replace(MODEL, layers=8, vocab=vocab)
    return search(Job(model=model, training=training, cluster=ClusterSpec(ranks=ranks)), MACHINE)


@pytest.mark.parametrize(("ranks", "vocab"), [(16, 311), (64, 313)])
def test_weights_are_laid_out_for_stages_that_differ(monkeypatch, ranks, vocab):
    calls = counted(monkeypatch, LAID_OUT)
    found = searched(ranks, vocab)
    assert len(calls) == len(LAID_OUT)
    assert max(calls.values()) < found.legal / 3


@pytest.mark.parametrize(("ranks", "vocab"), [(16, 317), (64, 331), (256, 337)])
def test_a_few_ranks_are_asked_what_they_hold(monkeypatch, ranks, vocab):
    calls = counted(monkeypatch, HELD)
    found = searched(ranks, vocab)
    assert found.legal < calls.total() < 16 * found.legal


def test_what_a_schedule_takes_is_played_once(monkeypatch):
    calls = counted(monkeypatch, PLAYED)
    found = searched(16, 347)
    assert 0 < calls.total() < 0.85 * found.played


class Asked(list[int]):
    """A list that counts what it is asked."""

    times = 0

    def __getitem__(self, index):
        self.times += 1
        return super().__getitem__(index)


def test_a_bucket_is_filled_weight_by_weight():
    sizes = Asked([1] * 1000)
    assert len(bucket_boundaries(sizes, 2**60)) == 1
    assert sizes.times <= 3 * len(sizes)


def test_nothing_of_a_search_waits_for_the_garbage_collector():
    asked = Job(model=MODEL, training=TrainingSpec(global_batch=8, sequence_length=32), cluster=ClusterSpec(ranks=4))
    search(asked, MACHINE)  # what is worked out once is kept
    gc.collect()
    gc.disable()
    try:
        assert search(asked, MACHINE).legal > 10
        assert not gc.isenabled()
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("constraints", [{}, {"tensor": 3}], ids=["found", "refused"])
def test_the_garbage_collector_goes_on_after_a_search(constraints):
    asked = Job(
        model=MODEL,
        training=TrainingSpec(global_batch=8, sequence_length=32),
        cluster=ClusterSpec(ranks=4),
        constraints=constraints,
    )
    with pytest.raises(IllegalJob) if constraints else nullcontext():
        search(asked, MACHINE)
    assert gc.isenabled()

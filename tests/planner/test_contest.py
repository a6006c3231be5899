"""A search that leaves plans unplayed finds what one finds that plays them all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from plait.errors import IllegalJob, NothingFits
from plait.planner import contest
from plait.planner import search as module
from plait.planner.search import search
from plait.planner.simulator import Played
from plait.plans.plan import Plan
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.training import TrainingSpec
from tests.planner.machines import machine
from tests.planner.test_search import MODEL

MACHINES = st.builds(
    machine,
    flops=st.sampled_from([1e8, 1e9, 1e11]),
    latency=st.sampled_from([1e-7, 1e-5, 1e-3]),
    link=st.sampled_from([1e7, 1e9, 1e12]),
    cores=st.sampled_from([None, 1, 2, 3]),
    memory=st.sampled_from([2 * 10**6, 5 * 10**6, 2**40]),
    dispatch=st.sampled_from([0.0, 2e-6]),
)
CONSTRAINTS = st.fixed_dictionaries(
    {},
    optional={
        "data": st.sampled_from([1, 2]),
        "pipeline": st.sampled_from([2, 4]),
        "microbatch": st.sampled_from([1, 2, 3]),
        "zero": st.integers(0, 3),
        "schedule": st.sampled_from(["gpipe", "1f1b"]),
    },
)


@st.composite
def spaces(draw):
    """A small job, and the machine that it is planned for; sometimes its ranks differ in speed."""
    ranks = draw(st.sampled_from([2, 3, 4, 6, 8]))
    model = replace(MODEL, layers=draw(st.integers(2, 6)), vocab=draw(st.sampled_from([8, 300, 4000])))
    training = TrainingSpec(global_batch=draw(st.integers(3, 16)), sequence_length=draw(st.sampled_from([8, 32])))
    speeds = draw(st.sampled_from([(), tuple(draw(st.lists(st.floats(0.3, 1.5), min_size=ranks, max_size=ranks)))]))
    nodes = draw(st.sampled_from([n for n in (1, 2, 3) if ranks % n == 0]))
    job = Job(
        model=model, training=training, cluster=ClusterSpec(ranks=ranks, nodes=nodes), constraints=draw(CONSTRAINTS)
    )
    return job, replace(draw(MACHINES), speeds=speeds)


def found(job, measurements, **how):
    try:
        return search(job, measurements, **how)
    except (IllegalJob, NothingFits):
        return None


@contextmanager
def bounds_of(plans: dict[Plan, Played]) -> Iterator[None]:
    """Within, a search leaves here what its plans were before any of them was played."""
    settle = contest.contested

    def contested(fitting: Sequence[Played], *rest: Any) -> list[Played]:
        plans.update({one.plan: one for one in fitting})
        return settle(fitting, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "contested", contested)
        yield


@settings(max_examples=50)
@given(spaces(), st.sampled_from([1, 3, 10]))
def test_the_first_places_are_those_of_a_search_that_plays_every_plan(space, sure):
    job, measurements = space
    bounds: dict[Plan, Played] = {}
    with bounds_of(bounds):
        every = found(job, measurements)
    assume(every is not None)
    assert every.played == len(every.plans)
    no_step_is_shorter_than_its_bound(every, bounds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contest, "_ACTIONS", 0)
        some = found(job, measurements, sure=sure)
    assert some.plans[:sure] == every.plans[:sure]
    assert [one.prediction for one in some.plans[:sure]] == [one.prediction for one in every.plans[:sure]]
    assert {one.plan for one in some.plans} == {one.plan for one in every.plans}
    assert (some.considered, some.legal, some.unfit) == (every.considered, every.legal, every.unfit)
    seconds = [one.prediction.step_seconds for one in some.plans]
    assert [round(one, 9) for one in seconds] == sorted(round(one, 9) for one in seconds)


def no_step_is_shorter_than_its_bound(every, bounds):
    assert bounds.keys() == {one.plan for one in every.plans}
    for one in every.plans:
        step = bounds[one.plan].step
        assert step.seconds <= one.prediction.step_seconds * (1 + 1e-9)
        total = step.terms.compute + step.terms.bubble + step.terms.optimizer + sum(step.terms.exposed.values())
        assert total == pytest.approx(step.seconds, abs=2e-9)


def test_what_was_not_played_says_so():
    job = Job(model=MODEL, training=TrainingSpec(global_batch=16, sequence_length=32), cluster=ClusterSpec(ranks=4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contest, "_ACTIONS", 0)
        plans = search(job, machine(latency=1e-3), sure=1)
    left = [one for one in plans.plans if not one.played]
    assert 0 < len(left) == len(plans.plans) - plans.played
    assert all(one.lost_because.startswith("not played: no schedule of it takes less than") for one in left)
    assert all(one.prediction.step_seconds > plans.best.prediction.step_seconds for one in left)

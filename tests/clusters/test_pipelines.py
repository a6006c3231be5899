"""A plan's pipeline in seconds: each boundary by the hosts that it lies between, backward in its two parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from plait.clusters.pipelines import Pipeline, pipeline_on, row_of, timeline_of
from plait.clusters.tasks import tasks_of
from plait.estimates.layers import layers_of
from plait.plans.plan import Plan
from plait.schedules.action import Kind
from tests.clusters.jobs import job


def plan(stages: int, schedule: str = "1f1b", **keys: object) -> Plan:
    """Of eight blocks, two replicas and four places along the pipeline."""
    whole = Plan(data=2, pipeline=4, microbatch=1, schedule=schedule, stages=(8 // stages,) * stages,
                 virtual_stages=stages // 4, data_shares=(1, 1), tensor_shares=(1,))  # fmt: skip
    return replace(whole, **keys)  # type: ignore[arg-type]


def pipeline(one: Plan, each: int = 4) -> Pipeline:
    """On eight devices, so many a host."""
    (found,) = tasks_of(job(8, each=each))
    return pipeline_on(one, found)


def near_and_far(one: Plan, each: int) -> tuple[float, float]:
    (found,) = tasks_of(job(8, each=each))
    layers = layers_of(found, row_of(one), np.full(4, 2))
    return layers.near, layers.far


@pytest.mark.parametrize(
    ("schedule", "stages", "each", "crossing"),
    [
        ("1f1b", 4, 8, []),
        ("1f1b", 4, 4, [1]),
        ("1f1b", 4, 2, [0, 1, 2]),
        ("interleaved", 8, 4, [1, 3, 5]),  # the fourth transfer goes around, from the last place to the first
        ("zb-v", 8, 4, [1, 5]),  # down the V and up again
    ],
)
def test_a_boundary_is_priced_by_the_hosts_of_its_two_places(schedule, stages, each, crossing):
    one = plan(stages, schedule)
    near, far = near_and_far(one, each)
    assert far > near
    sends = pipeline(one, each).sends
    assert [stage for stage, seconds in enumerate(sends) if seconds == far] == crossing
    assert {*sends} <= {near, far}


def test_uneven_interleaved_stages_hold_each_other_up_little():
    """A send is not waited for in its place: that would take a fifth of every microbatch's time."""
    uneven = (1.0, 1.05, 1.0, 0.95)
    bubbles, busy = [], []
    for count in (8, 64):
        found = Pipeline(
            kind="interleaved", places=(0, 1, 0, 1), microbatches=count, forward=uneven,
            backward=tuple(2 * one for one in uneven), weights=uneven, sends=(0.01, 0.01, 0.01),
        )  # fmt: skip
        busy.append(max(map(found.busy, range(2))))
        bubbles.append(timeline_of(found).step_seconds - busy[-1])
    assert bubbles[1] - bubbles[0] < 0.04 * (busy[1] - busy[0])


def test_only_what_crosses_takes_longer_when_it_is_played():
    timed = {
        (one.action.kind, one.action.stage): one.end - one.start
        for rank in timeline_of(pipeline(plan(4))).ranks
        for one in rank
    }
    near, far = near_and_far(plan(4), 4)
    assert [timed[Kind.SEND_F, stage] for stage in range(3)] == pytest.approx([near, far, near])
    assert [timed[Kind.SEND_B, stage] for stage in (1, 2, 3)] == pytest.approx([near, far, near])


def test_the_second_part_of_backward_is_what_products_of_weights_take():
    found = pipeline(plan(4, "zb-h1", recompute="full"))
    timed = {
        (one.action.kind, one.action.stage): one.end - one.start for rank in timeline_of(found).ranks for one in rank
    }
    for stage in range(4):
        assert timed[Kind.W, stage] == pytest.approx(found.weights[stage])
        assert timed[Kind.I, stage] + timed[Kind.W, stage] == pytest.approx(found.backward[stage])
        assert timed[Kind.W, stage] < timed[Kind.I, stage] / 1.5
    assert found.weights[3] == pytest.approx(found.weights[1], rel=0.01)  # the head's is not among them
    assert found.backward[3] > 1.05 * found.backward[1]

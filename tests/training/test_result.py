"""Many ranks' measures in one: who computes longest speaks; what it waits at the end for neighbours is bubble."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from plait.plans.plan import Plan
from plait.plans.prediction import Terms
from plait.schedules.action import Action
from plait.schedules.timeline import Timed
from plait.training.measures import RankMeasure
from plait.training.result import measured_from_table, summed_up

PP2 = Plan(pipeline=2, stages=(1, 1), microbatch=2)
DP2 = Plan(data=2, stages=(2,), microbatch=2, data_shares=(1, 1))


def rows(*actions: tuple[str, float, float]) -> tuple[Timed, ...]:
    return tuple(Timed(Action.parse(name), start, end) for name, start, end in actions)


def measure(compute: float, actions: tuple[Timed, ...], *, step: float = 20.0, **exposed: float) -> RankMeasure:
    found = {axis: exposed.get(axis, 0.0) for axis in ("data", "tensor", "pipeline")}
    terms = Terms(compute=compute, bubble=step - compute - 1.0 - sum(found.values()), optimizer=1.0, exposed=found)
    return RankMeasure(
        step_seconds=step, terms=terms, weight_bytes=1, gradient_bytes=1, optimizer_bytes=1, peak_bytes=int(compute),
        timelines=(actions, actions),
    )  # fmt: skip


# stage 1 is done at 13 and sums a tied weight with stage 0, which is done at 16: three of the four seconds are waiting
FIRST = rows(("0F0", 0, 5), ("0SEND_F0", 5, 5), ("0RECV_B0", 5, 14), ("0B0", 14, 16))
LAST = rows(("1RECV_F0", 0, 6), ("1F0", 6, 9), ("1B0", 9, 13), ("1SEND_B0", 13, 13))


def test_waiting_for_the_last_stage_to_end_is_bubble_and_not_communication():
    found = summed_up(PP2, [measure(5, FIRST, pipeline=1.0), measure(9, LAST, pipeline=4.0)])
    assert found.compute == 9
    assert found.exposed["pipeline"] == pytest.approx(1.0)
    assert found.bubble == pytest.approx(20 - 9 - 1 - 4 + 3)
    assert [one.compute for one in found.stages] == [5, 9]
    assert found.stages[0].exposed["pipeline"] == pytest.approx(1.0), "who is last waits for nobody"
    assert found.transfers == pytest.approx((1.0, 1.0))


def test_who_ends_last_tells_how_long_a_sum_takes_where_the_wait_before_it_is_noisy():
    found = summed_up(PP2, [measure(5, FIRST, pipeline=1.0), measure(9, LAST, pipeline=2.5)])  # 3 early, in the median
    assert found.exposed["pipeline"] == pytest.approx(1.0)
    assert sum((found.compute, found.bubble, found.optimizer, *found.exposed.values())) == pytest.approx(20.0)


def test_no_more_is_taken_out_of_a_sum_than_there_was():
    found = summed_up(PP2, [measure(5, FIRST), measure(9, LAST, pipeline=2.0)])
    assert found.exposed["pipeline"] == 0.0
    assert sum((found.compute, found.bubble, found.optimizer, *found.exposed.values())) == pytest.approx(20.0)


def test_clocks_of_two_hosts_don_t_make_a_stage_late():
    later = tuple(Timed(one.action, one.start + 500, one.end + 500) for one in LAST)
    here = summed_up(PP2, [measure(5, FIRST), measure(9, LAST, pipeline=4.0)])
    there = summed_up(PP2, [measure(5, FIRST), measure(9, later, pipeline=4.0)], hosts=2)
    assert there.exposed["pipeline"] == pytest.approx(here.exposed["pipeline"], abs=0.5)
    assert sum(there.transfers) == pytest.approx(sum(here.transfers))


def test_of_replicas_the_one_that_computes_longest_speaks():
    quick, slow = rows(("0F0", 0, 5)), rows(("0F0", 0, 15))
    found = summed_up(DP2, [measure(5, quick, data=12.0), measure(15, slow, data=2.0)])
    assert (found.compute, found.exposed["data"], found.memory_bytes, found.transfers) == (15, 2.0, (5, 15), ())


def test_it_is_the_same_after_a_way_through_json():
    found = summed_up(PP2, [measure(5, FIRST, pipeline=1.0), measure(9, LAST, pipeline=4.0)])
    assert measured_from_table(asdict(found)) == found
    assert measured_from_table(asdict(found) | {"stages": [], "transfers": []}) == replace(
        found, stages=(), transfers=()
    )

"""Ranks that differ in speed: what they count as, how the batch is dealt to them, what a step then takes, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.planner.deals import deals
from plait.planner.explain import Rival, reasons
from plait.planner.paces import Pace, pace_words
from plait.planner.prices import JobPrices
from plait.planner.search import search
from plait.planner.simulator import play, played
from plait.planner.speeds import NOISE, Speeds
from plait.plans.legality import plan_problems
from plait.plans.plan import Plan
from plait.plans.rows import row_counts
from plait.sharding.mesh_shape import MeshShape
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.links import Link
from plait.specs.training import TrainingSpec
from plait.specs.values import MOST_RANKS
from tests.planner.machines import machine
from tests.planner.test_search import MODEL

FREE = machine(flops=1e9, latency=1e-9, link=1e15)  # nothing but computing takes time
SPEEDS = st.lists(st.floats(0.1, 4.0), min_size=1, max_size=6)


def known(*speeds, hosts=1, ranks_a_node=MOST_RANKS):
    links = (Link(backend="gloo", kind="send", ranks=2, alpha0=0.0, alpha1=0.0, bytes_per_second=1.0, hosts=hosts),)
    return Speeds(replace(FREE, speeds=speeds, collectives=links), ranks_a_node)


def job(ranks=2, batch=16, **constraints):
    training = TrainingSpec(global_batch=batch, sequence_length=32)
    return Job(model=MODEL, training=training, cluster=ClusterSpec(ranks=ranks), constraints=constraints)


def shares_of(speeds, batch, **constraints):
    """The ways to deal a batch to as many replicas, as a plan would; None for equally."""
    asked = job(len(speeds), batch, **constraints)
    prices = JobPrices(MODEL, asked.training, replace(FREE, speeds=tuple(speeds)))
    return [one.get("data_shares") for one in deals(asked, MeshShape(data=len(speeds)), prices)]


@given(SPEEDS, st.integers(0, 30))
def test_shares_are_the_batch_and_never_slower_than_equal_ones(speeds, more):
    batch = len(speeds) + more
    counted = known(*speeds).along(MeshShape(data=len(speeds)), "data")
    *by_speed, equal = shares_of(speeds, batch)
    assert equal is None
    if not by_speed:
        return
    (rows,) = by_speed
    plan = Plan(data=len(speeds), data_shares=rows, stages=(1,))
    assert sum(rows) == batch
    assert min(rows) >= 1
    assert row_counts(plan, batch) == rows
    even = row_counts(replace(plan, data_shares=(1,) * len(speeds)), batch)
    slowest, slowest_even = (max(n / s for n, s in zip(one, counted, strict=True)) for one in (rows, even))
    assert slowest <= slowest_even


@given(st.lists(st.floats(0.96, 1.04), min_size=1, max_size=6), st.integers(6, 40))
def test_the_noise_of_a_profile_changes_no_plan(noisy, batch):
    assert shares_of([1.0, *noisy], batch + 1) == [None]
    assert set(known(1.0, *noisy).along(MeshShape(data=1 + len(noisy)), "data")) == {1.0}


@given(SPEEDS)
def test_what_a_rank_counts_as_is_within_the_noise_of_what_it_was_measured(speeds):
    counted = known(*speeds).along(MeshShape(data=len(speeds)), "data")
    ratios = [max(pair) / min(pair) for pair in zip(counted, speeds, strict=True)]
    assert max(ratios) <= 1 + NOISE + 1e-12


def test_ranks_of_one_speed_have_equal_shares():
    assert shares_of([1.0, 0.96, 0.52, 0.5], 12)[0] == (4, 4, 2, 2)


def test_a_replica_is_as_fast_as_its_slowest_rank():
    speeds = known(1.0, 1.0, 1.0, 0.5)
    assert speeds.along(MeshShape(data=2, tensor=2), "data") == (1.0, 0.5)
    assert speeds.along(MeshShape(data=2, pipeline=2), "data") == (1.0, 0.5)  # ranks 1 and 3 are one replica
    assert known(1.0, 0.5, 1.0, 1.0).along(MeshShape(data=2, pipeline=2), "data") == (1.0, 0.5)
    assert speeds.along(MeshShape(tensor=4), "data") == (0.5,)


def test_a_rank_of_another_number_of_ranks_has_the_speed_of_its_place():
    measured = known(1.0, 1.0, 0.5, 0.5, hosts=2, ranks_a_node=1)
    assert measured.along(MeshShape(data=2), "data") == (1.0, 0.5)  # one rank of each of the two hosts
    assert measured.along(MeshShape(data=3), "data") == (1.0, 0.5, 1.0)  # a third host is like the first
    alone = known(1.0, 0.5, ranks_a_node=3)
    assert alone.along(MeshShape(data=6), "data") == (1.0, 0.5, 1.0) * 2  # nobody measured the third place
    assert known().along(MeshShape(data=3), "data") == (1.0, 1.0, 1.0)


def test_what_a_job_fixes_is_kept():
    assert shares_of([1.0, 0.5], 16, data_shares=(1, 1)) == [None]
    found = search(job(data_shares=(1, 1)), replace(FREE, speeds=(1.0, 0.5)))
    assert {one.plan.data_shares for one in found.plans} == {(1, 1)}


def test_servers_alone_have_no_rows_to_deal():
    served = {"synchronisation": "parameter-server", "servers": 1}
    assert shares_of([1.0, 0.5, 1.0], 12, **served) == [(8, 4, 1), None]
    assert shares_of([1.0, 1.0, 0.5], 12, **served) == [None]


def test_a_batch_with_a_sequence_a_replica_is_dealt_equally():
    assert shares_of([1.0, 0.5], 2) == [None]
    assert shares_of([1.0, 0.5], 1) == [None]


@pytest.mark.parametrize("zero", range(4))
def test_the_search_deals_by_speed(zero):
    found = search(job(data=2, zero=zero), replace(FREE, speeds=(1.0, 0.5)))
    even = search(job(data_shares=(1, 1), zero=zero), replace(FREE, speeds=(1.0, 0.5)))
    assert found.best.plan.data_shares == (11, 5)
    gain = found.best.prediction.step_seconds / even.best.prediction.step_seconds
    assert gain == pytest.approx(11 / 16, rel=0.05)
    assert found.paces == (
        Pace(axis="data", place=0, speed=1.0, share=11),
        Pace(axis="data", place=1, speed=0.5, share=5),
    )
    assert all(plan_problems(job(), one.plan) == [] for one in found.plans)
    assert any(one.plan.data_shares == (1, 1) for one in found.plans)


def test_alike_ranks_are_planned_as_if_nobody_had_measured_them():
    plain, measured = (search(job(4), replace(FREE, speeds=speeds)) for speeds in ((), (1.0, 0.95, 1.05, 1.02)))
    assert plain.plans == measured.plans
    assert measured.paces == ()


def test_where_only_equal_shares_are_legal_they_are_equal():
    found = search(job(synchronisation="parameter-server", staleness=1), replace(FREE, speeds=(1.0, 0.5)))
    assert {one.plan.data_shares for one in found.plans if one.plan.data == 2} == {(1, 1)}


def test_under_zero_2_the_slow_one_holds_up_each_round_that_it_is_in():
    """11 rows beside 5 at half the speed, one by one: 5 rounds of two, and 6 of one, are as long as 8 of two."""
    prices = JobPrices(MODEL, job().training, replace(FREE, speeds=(1.0, 0.5)))
    plan = Plan(data=2, data_shares=(11, 5), stages=(4,), zero=2)
    rounds = prices.step(plan).rounds
    assert [one.slower for one in rounds] == [(2.0,)] * 5 + [(1.0,)] * 6
    assert [one.slower for one in prices.step(replace(plan, zero=1)).rounds] == [(1.0,)] * 11
    even = played(replace(plan, data_shares=(1, 1)), prices)
    assert played(plan, prices).step.terms.compute == pytest.approx(even.step.terms.compute)


def test_portions_of_a_step_go_to_who_asks():
    prices = JobPrices(MODEL, job().training, replace(FREE, speeds=(1.0, 0.5)))
    plan = Plan(data=2, data_shares=(1, 1), stages=(4,), synchronisation="parameter-server", staleness=-1)
    assert [one.slower[0] for one in prices.step(plan).rounds] == pytest.approx([4 / 3] * 8)


def test_a_slower_rank_makes_computing_longer_and_no_message():
    plan = Plan(tensor=2, tensor_shares=(1, 1), stages=(4,), sequence_parallel=True)
    link = machine(flops=1e9)
    alike, unlike = (
        played(plan, JobPrices(MODEL, job().training, replace(link, speeds=speeds))).step.terms
        for speeds in ((1.0, 1.0), (1.0, 0.5))
    )
    assert unlike.compute == pytest.approx(2 * alike.compute)
    assert unlike.exposed == pytest.approx(alike.exposed)
    assert unlike.optimizer == pytest.approx(2 * alike.optimizer)


@settings(max_examples=30)
@given(st.lists(st.floats(0.2, 1.0), min_size=2, max_size=4), st.integers(4, 24))
def test_the_plan_s_step_is_never_longer_than_with_equal_shares(speeds, batch):
    ranks = len(speeds)
    prices = JobPrices(MODEL, job(batch=batch).training, replace(FREE, speeds=tuple(speeds)))
    plan = Plan(data=ranks, data_shares=(1,) * ranks, stages=(4,))
    for shares in filter(None, shares_of(speeds, batch)):
        dealt = played(replace(plan, data_shares=shares), prices).step.seconds
        assert dealt <= played(plan, prices).step.seconds * (1 + 1e-9)


def test_equal_shares_lose_for_the_slow_rank_and_would_not_without_it():
    asked, unlike = job(data=2, microbatch=1, zero=0), replace(FREE, speeds=(1.0, 0.5))
    best, loser = search(asked, unlike).plans
    assert loser.lost_because == "data rank 1 computes at half the speed: it takes 8 of 16 sequences"
    prices = JobPrices(MODEL, asked.training, unlike)
    one, winner = played(loser.plan, prices), played(best.plan, prices)
    (reason,) = [found for found in reasons(one, Rival(winner, prices)) if found.words == loser.lost_because]
    without = play(one.plan, one.cost.at_one_speed(1.0), prices).seconds
    assert reason.without == pytest.approx(without)
    assert without <= winner.step.seconds


def test_words():
    def words(*paces, axis="data"):
        return list(pace_words([Pace(axis=axis, place=k, speed=s, share=n) for k, (s, n) in enumerate(paces)]))

    assert words() == []
    assert words((1.0, 11), (0.5, 5)) == ["data rank 1 computes at half the speed: it takes 5 of 16 sequences"]
    assert words((0.7, 3), (1.0, 4), (0.7, 3)) == [
        "data ranks 0 and 2 compute at 70% of the speed: each takes 3 of 10 sequences"
    ]
    assert words((1.0, 5), (0.5, 2), axis="pipeline") == ["stage 1 computes at half the speed: it has 2 of 7 layers"]
    assert words((1.0, 4), (0.5, 2), axis="tensor") == [
        "tensor rank 1 computes at half the speed: it holds 2 of 6 heads"
    ]
    assert words(*((0.5, 1),) * 20, (1.0, 2))[0].startswith("20 data ranks (0, 1, … 19) compute at half the speed")

"""A reason names what its plan has and the one beside it has not, and says of it what is so."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from plait.planner.causes import Work, along, computing, unevenly, updating, waiting
from plait.planner.explain import Rival, reasons
from plait.planner.obvious import explained
from plait.planner.paces import pace_words, paces_of
from plait.planner.prices import JobPrices
from plait.planner.search import search
from plait.planner.simulator import performed, play, played
from plait.plans.plan import Plan
from plait.specs.cluster import ClusterSpec
from plait.specs.grids import SCHEDULES
from plait.specs.job import Job
from tests.planner.machines import machine
from tests.planner.test_search import MODEL, TRAINING

SLOW = machine(latency=1e-4, link=1e7, dispatch=2e-6)
IN_MEMORY = machine(latency=1e-5, cores=2, backend="shared-memory")
ZERO = {"data": 4, "tensor": 1, "pipeline": 1, "microbatch": 2}
SEARCHES = {
    "alone": (machine(dispatch=1e-4), 1, {}),
    "two ranks": (machine(latency=1e-5, cores=2), 2, {}),
    "two cores": (machine(latency=1e-5, cores=2), 4, {}),
    "slow link": (SLOW, 4, {}),
    "quick link": (machine(latency=1e-7, link=1e12, dispatch=2e-6), 4, {}),
    "unlike ranks": (replace(machine(flops=1e9, latency=1e-6), speeds=(1.0, 1.0, 0.5, 0.7)), 4, {}),
    "two hosts": (IN_MEMORY, 4, {"nodes": 2, "inter_link": "ethernet-1gbit"}),
    "ZeRO 2, fixed": (machine(latency=1e-7, link=1e12, dispatch=2e-6), 4, {"zero": 2}),
    "ZeRO 3, fixed": (SLOW, 4, {"zero": 3}),
    "levels of ZeRO": (machine(latency=1e-7, link=1e12, dispatch=2e-6), 4, ZERO),
}
_PLACES = {"nodes", "inter_link"}
_NUMBERS = re.compile(r"(data|tensor|pipeline|microbatch) (\d+)")
_PACE = re.compile(r"((data|tensor) rank|stage)s? .*computes? at .*")


def searched(name):
    measurements, ranks, keys = SEARCHES[name]
    cluster = ClusterSpec(ranks=ranks, **{key: value for key, value in keys.items() if key in _PLACES})
    fixed = {key: value for key, value in keys.items() if key not in _PLACES}
    return search(Job(model=MODEL, training=TRAINING, cluster=cluster, constraints=fixed), measurements)


def named(words):
    """The keys that a reason names before its colon, and their values."""
    for token in re.split(r"(?<! ):", words)[0].split(", "):
        if found := _NUMBERS.fullmatch(token):
            yield found[1], int(found[2])
        elif found := re.fullmatch(r"ZeRO (\d)", token):
            yield "zero", int(found[1])
        elif found := re.fullmatch(r"stages ([\d+]+)", token):
            yield "stages", tuple(map(int, found[1].split("+")))
        elif found := re.fullmatch(r"(\d+) stages a rank", token):
            yield "virtual_stages", int(found[1])
        elif found := re.fullmatch(r"(data|tensor) shares (.*)", token):
            yield f"{found[1]}_shares", tuple(map(float, found[2].split(" : ")))
        elif found := re.fullmatch(r"equal (data|tensor) shares", token):
            yield f"{found[1]}_shares", None
        elif token in ("sequence parallel", "no sequence parallel"):
            yield "sequence_parallel", token == "sequence parallel"
        elif token.startswith("buckets of "):
            yield "bucket_bytes", None
        else:
            assert token in SCHEDULES, words
            yield "schedule", token


def check(plan, other, words, prices):
    if _PACE.match(words):
        beside = paces_of(other, prices.machine.speeds, MODEL, TRAINING.global_batch)
        assert words != next(pace_words(beside), None)
        return
    found = dict(named(words))
    assert found
    for key, value in found.items():
        own = getattr(plan, key)
        assert own != getattr(other, key), words
        assert value is None or value == own, words


@pytest.mark.parametrize("name", SEARCHES)
def test_what_a_reason_names_differs_from_the_winner(name):
    plans = searched(name)
    told = 0
    for one in plans.plans[1:]:
        for reason in reasons(performed(one.found, one.prices), one.rival):
            check(one.plan, plans.best.plan, reason.words, one.prices)
            told += 1
    for reason in explained(plans, plans.best).reasons:
        check(plans.best.plan, plans.plans[1].plan, reason.words, plans.best.prices)
    assert told >= len(plans.plans) - 1


def test_levels_of_zero_are_told_apart():
    plans = searched("levels of ZeRO")
    assert plans.best.plan.zero == 1
    told = {one.plan.zero: one.lost_because for one in plans.plans[1:]}
    assert re.fullmatch(r"ZeRO 0: each replica updates all of its weights, optimizer \+\d+%", told[0])
    assert re.fullmatch(r"ZeRO 2: gradients kept in pieces, compute \+\d+%", told[2])
    assert re.fullmatch(r"ZeRO 3: weights put together at each use, gradients kept in pieces, compute \+\d+%", told[3])


BASE = Plan(data=2, tensor=2, pipeline=2, microbatch=4, stages=(2, 2), tensor_shares=(1, 1), data_shares=(1, 1))
ALONE = Plan(data=8, stages=(4,), microbatch=4, data_shares=(1,) * 8)


def test_an_axis_that_the_other_has_not_says_it_all():
    assert along("data", replace(BASE, zero=3), replace(BASE, data=1)) == "data 2: exposed communication"
    assert along("data", replace(BASE, zero=3), BASE) == "ZeRO 3: exposed communication along data"
    four = replace(ALONE, data=4, tensor=2)
    assert along("data", ALONE, replace(four, zero=1)) == "data 8, ZeRO 0: exposed communication along data"
    many = replace(BASE, microbatch=1)
    assert along("data", replace(many, zero=2), replace(BASE, zero=2)) == (
        "microbatch 1: exposed communication along data"
    )
    assert along("tensor", replace(BASE, sequence_parallel=True), BASE) == (
        "sequence parallel: exposed communication along tensor"
    )


def test_a_bubble_is_blamed_on_what_makes_it():
    assert waiting(BASE, ALONE) == "pipeline 2"
    assert waiting(replace(BASE, schedule="gpipe"), BASE) == "gpipe"
    assert waiting(replace(BASE, microbatch=8), BASE) == "microbatch 8"


def test_uneven_stages_are_named_where_the_other_has_not_the_same():
    assert unevenly(replace(BASE, stages=(3, 1)), BASE) == "stages 3+1: the slowest"
    assert unevenly(replace(BASE, schedule="gpipe"), BASE) == "gpipe: the slowest of stages 2+2"


def test_of_what_is_computed_longer_the_most_is_named():
    smaller = replace(BASE, microbatch=1, zero=3)
    quiet = Work(operations=1.0, collecting=0.1, fetching=0.0, acting=0.1)
    assert computing(smaller, BASE, Work(1.5, 0.3, 1.0, 0.11), quiet) == (
        "ZeRO 3, microbatch 1: weights put together at each use, smaller operations, "
        "gradients kept in pieces and added up more often"
    )
    assert computing(smaller, BASE, Work(1.5, 0.1, 0.0, 0.0), quiet) == "microbatch 1: smaller operations"
    assert computing(BASE, smaller, Work(1.5, 0.1, 0.0, 0.0), quiet) == "microbatch 4: slower operations"
    alone = replace(BASE, data=1, zero=3, pipeline=4, stages=(1,) * 4)
    assert computing(replace(BASE, zero=3), alone, Work(1.0, 0.2, 1.0, 0.1), quiet).startswith("data 2: weights put")
    assert computing(BASE, replace(BASE, tensor=4, tensor_shares=(1,) * 4), Work(1.5, 0.1, 0.0, 0.1), quiet) == (
        "tensor 2: slower operations"
    )
    acting = replace(BASE, schedule="interleaved", virtual_stages=2, stages=(1,) * 4)
    assert computing(acting, BASE, Work(1.0, 0.1, 0.0, 0.4), quiet) == "2 stages a rank: more actions"
    assert computing(replace(BASE, schedule="zb-h1"), BASE, Work(1.0, 0.1, 0.0, 0.4), quiet) == "zb-h1: more actions"


def test_a_longer_update_has_its_cause():
    sharded = replace(BASE, zero=1)
    assert updating(BASE, sharded, 2, 1) == "ZeRO 0: each replica updates all of its weights"
    assert updating(sharded, replace(BASE, zero=2), 1, 1) == "ZeRO 1: zeros for all gradients"
    assert updating(replace(ALONE, zero=0), BASE, 4, 1) == "tensor 1, pipeline 1: more weights on a rank to update"
    assert updating(replace(BASE, stages=(3, 1)), BASE, 3, 2) == "stages 3+1: more weights on a rank to update"
    assert updating(replace(BASE, offload="optimizer"), BASE, 2, 2) == "offload: updates in host memory"
    wide = replace(BASE, data=4, tensor=1, zero=1)
    assert updating(sharded, wide, 2, 1) == "data 2: more weights on a rank to update"
    alone = replace(BASE, data=1, zero=1)
    assert updating(alone, sharded, 2, 1) == "data 1: more weights on a rank to update"
    served = replace(BASE, synchronisation="parameter-server", staleness=2)
    assert updating(BASE, replace(served, staleness=0), 2, 1) == "all-reduce: each replica updates all of its weights"
    assert updating(served, BASE, 1, 2) == "staleness 2: an update for each portion of a step"


def test_fewer_ranks_are_a_reason_of_their_own():
    measurements = machine(latency=1e-5)
    prices = JobPrices(MODEL, TRAINING, measurements)
    best = search(Job(model=MODEL, training=TRAINING, cluster=ClusterSpec(ranks=4)), measurements).best
    alone = played(Plan(stages=(4,), microbatch=best.plan.microbatch), prices)
    first, *_ = reasons(alone, Rival(best.found, prices))
    assert first.words == "1 rank in place of 4: compute of each +300%"
    shared = play(alone.plan, alone.cost.with_compute(1 / 4), prices).seconds
    assert first.without == pytest.approx(shared)

"""The search returns the best plan there is, keeps what was fixed, and says what it says truly."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.errors import IllegalJob, NothingFits, UnusableInput
from plait.planner.prices import JobPrices
from plait.planner.search import search
from plait.planner.simulator import predict
from plait.plans.legality import plan_problems
from plait.plans.plan import Plan
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.units import Bytes
from tests.planner.machines import machine, room_for

MODEL = ModelSpec(layers=4, hidden=64, heads=4, kv_heads=2, ffn=128, vocab=300, max_positions=32, positions="rope",
                  norm="rms", activation="swiglu", bias=False, tie_embeddings=False)  # fmt: skip
TRAINING = TrainingSpec(global_batch=8, sequence_length=32)
MACHINE = machine(latency=1e-5, cores=2, dispatch=2e-6)


def job(ranks=4, **constraints):
    return Job(model=MODEL, training=TRAINING, cluster=ClusterSpec(ranks=ranks), constraints=constraints)


@cache
def free(ranks=4):
    """The search that nothing is fixed for: many tests look at it."""
    return search(job(ranks), MACHINE)


SCHEDULES = [("gpipe", 1), ("1f1b", 1), ("zb-h1", 1), ("zb-v", 2), ("interleaved", 2), ("interleaved", 4)]


def every_plan(asked):
    """By brute force over far more than the legal space."""
    prices = JobPrices(asked.model, asked.training, MACHINE)
    sizes = range(1, asked.cluster.ranks + 1)
    for data, tensor, pipeline in product(sizes, repeat=3):
        for microbatch, (schedule, each), split, zero in product(range(1, 9), SCHEDULES, (False, True), range(4)):
            plan = Plan(
                data=data, tensor=tensor, pipeline=pipeline, microbatch=microbatch, schedule=schedule, zero=zero,
                virtual_stages=each,
                sequence_parallel=split, stages=(4,), tensor_shares=(1,) * tensor, data_shares=(1,) * data,
            )  # fmt: skip
            offered = pipeline > 1 or schedule in ("gpipe", "1f1b")  # others are for pipelines alone
            if offered and data * tensor * pipeline == asked.cluster.ranks and pipeline * each <= 4:
                plan = replace(plan, stages=prices.balanced(plan))
                plan = replace(plan, bucket_bytes=prices.bucket_bytes(plan))
                if not plan_problems(asked, plan):
                    yield plan, predict(plan, prices).step_seconds


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_no_legal_plan_is_faster(ranks):
    found = free(ranks)
    brute = dict(every_plan(job(ranks)))
    assert found.best.prediction.step_seconds == pytest.approx(min(brute.values()))
    assert {one.plan for one in found.plans} <= set(brute)
    assert found.legal == len(found.plans) <= found.considered


@settings(max_examples=15, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "data": st.sampled_from([1, 2]),
            "tensor": st.sampled_from([1, 2, 4]),
            "pipeline": st.sampled_from([1, 2, 4]),
            "microbatch": st.sampled_from([1, 2, 4]),
            "schedule": st.sampled_from(["gpipe", "1f1b", "interleaved", "zb-h1", "zb-v"]),
            "sequence_parallel": st.booleans(),
            "bucket_bytes": st.integers(1, 10**6),
        },
    )
)
def test_what_is_fixed_is_kept(constraints):
    try:
        found = search(job(4, **constraints), MACHINE)
    except IllegalJob:
        return
    for one in found.plans:
        assert {key: getattr(one.plan, key) for key in constraints} == constraints
        assert plan_problems(job(4), one.plan) == []
    same_buckets = "bucket_bytes" not in constraints
    assert not same_buckets or found.best.prediction.step_seconds >= free().best.prediction.step_seconds


def test_fixed_stages_are_kept():
    found = search(job(2, pipeline=2, stages=(1, 3)), MACHINE)
    assert {one.plan.stages for one in found.plans} == {(1, 3)}


def test_they_are_ranked_and_each_loser_has_a_reason():
    found = free()
    seconds = [one.prediction.step_seconds for one in found.plans]
    assert seconds == pytest.approx(sorted(seconds))
    assert found.best.lost_because is None
    assert all(one.lost_because for one in found.plans[1:])
    assert found.search_seconds > 0
    assert found.unfit == 0


def test_a_close_second_is_too_close_to_call():
    found = free()
    assert found.too_close_to_call == (found.plans[1].prediction.step_seconds <= found.best.prediction.interval[1])
    alone = search(job(1, microbatch=1), MACHINE)
    assert len(alone.plans) == 1
    assert not alone.too_close_to_call


@pytest.mark.parametrize("axis", ["latency", "link"])
def test_a_slower_link_gives_no_faster_plan(axis):
    values = {"latency": [1e-6, 1e-4, 1e-2], "link": [1e10, 1e8, 1e6]}[axis]
    best = [search(job(4), machine(**{axis: value})).best.prediction.step_seconds for value in values]
    assert best == sorted(best)


def test_a_dear_link_is_avoided():
    plans = search(job(2), machine(latency=1.0)).plans
    messages = [max(sum(row.count for row in rank) for rank in one.prediction.collectives) for one in plans]
    assert messages[0] == min(messages)
    assert plans[-1].plan.tensor == 2


def test_plans_that_do_not_fit_are_left_out():
    sizes = sorted(sum(one.prediction.memory_bytes) for one in free().plans)
    limit = sizes[len(sizes) // 2]
    found = search(job(4), machine(cores=2, memory=limit))
    assert 0 < found.unfit < found.legal
    assert all(sum(one.prediction.memory_bytes) <= limit for one in found.plans)
    assert len(found.plans) + found.unfit == found.legal


def test_a_device_of_its_own_bounds_each_rank():
    largest = sorted(max(one.prediction.memory_bytes) for one in search(job(4), machine()).plans)
    found = search(job(4), machine(memory=room_for(largest[0])))
    assert 0 < len(found.plans) < found.legal
    assert all(room_for(max(one.prediction.memory_bytes)) <= room_for(largest[0]) for one in found.plans)


@pytest.mark.parametrize(("nodes", "of_a_host"), [(1, sum), (2, max)])
def test_each_host_has_a_memory_of_its_own(nodes, of_a_host):
    """Two stages share that of one host; on two the one that holds more decides alone."""
    asked = replace(job(2, pipeline=2, microbatch=8, schedule="gpipe"), cluster=ClusterSpec(ranks=2, nodes=nodes))
    held = of_a_host(search(asked, machine(cores=2)).best.prediction.memory_bytes)
    assert search(asked, machine(cores=2, memory=room_for(held))).best.risk <= 0.1
    with pytest.raises(NothingFits):
        search(asked, machine(cores=2, memory=held))


def test_of_several_hosts_the_fullest_one_s_rank_dies_first():
    """Of two stages on hosts of their own the one that holds more; what it needs is more than there is."""
    asked = replace(job(2, pipeline=2, microbatch=8, schedule="gpipe"), cluster=ClusterSpec(ranks=2, nodes=2))
    held = search(asked, machine(cores=2)).best.prediction.memory_bytes
    with pytest.raises(NothingFits) as caught:
        search(asked, machine(cores=2, memory=max(held)))
    need, needs = Bytes(round(1.05 * max(held))), f"rank {held.index(max(held))} dies first: it needs "
    assert f"all ranks of a host together need {need} of the {Bytes(max(held))} that they share" in str(caught.value)
    assert f"{needs}{need}" in str(caught.value)


def test_on_a_device_what_is_needed_is_never_said_to_be_there():
    held = max(search(job(1, microbatch=8), machine()).best.prediction.memory_bytes)
    with pytest.raises(NothingFits) as caught:
        search(job(1, microbatch=8), machine(memory=held))
    assert f"it needs {Bytes(round(1.05 * held))} of the {Bytes(held)} that a device has" in str(caught.value)


def test_what_a_rank_takes_before_it_holds_a_tensor_counts():
    asked = job(2, data=2, microbatch=4, zero=0)
    held = sum(search(asked, machine(cores=2)).best.prediction.memory_bytes)
    known = machine(cores=2, memory=room_for(held))
    assert known.host is not None
    assert sum(search(asked, known).best.prediction.memory_bytes) == held
    with pytest.raises(NothingFits):
        search(asked, replace(known, host=replace(known.host, rank_bytes=held // 8)))


def test_a_plan_that_may_not_fit_is_proposed_where_none_is_safer_and_says_so():
    asked = job(1, microbatch=8)
    held = max(search(asked, machine()).best.prediction.memory_bytes)
    for share, risk in ((1.05, 0.5), (1.08, 0.35), (1.2, 0.05)):
        found = search(asked, machine(memory=round(share * held)))
        assert found.best.risk == pytest.approx(risk, abs=0.04)
        words = f"no plan is safe: the best one runs out of memory with a probability of {found.best.risk:.0%}, "
        assert any(one.startswith(words) for one in found.cautions) is (share < 1.15)
    with pytest.raises(NothingFits):
        search(asked, machine(memory=held))


def test_offload_makes_room_on_a_device_and_none_in_the_memory_that_is_the_host_s():
    def least(how, cores):
        found = search(job(1, offload=how, microbatch=1), machine(cores=cores))
        assert {one.plan.offload for one in found.plans} == {how}
        return found.best.prediction

    on_device, offloaded = least("none", None), least("optimizer", None)
    assert on_device.memory_bytes[0] - offloaded.memory_bytes[0] == on_device.optimizer_bytes[0]
    room = machine(memory=on_device.memory_bytes[0] - 1)
    with pytest.raises(NothingFits):
        search(job(1, offload="none", microbatch=1), room)
    assert search(job(1, offload="optimizer", microbatch=1), room).unfit == 0
    assert least("optimizer", 2).memory_bytes > least("none", 2).memory_bytes
    assert least("optimizer", 2).step_seconds > least("none", 2).step_seconds


@pytest.mark.parametrize(("ranks", "nodes"), [(2, 1), (4, 2)])
def test_what_a_host_s_devices_offload_has_to_fit_its_memory(ranks, nodes):
    asked = job(ranks, offload="optimizer", data=ranks, zero=0, microbatch=1)
    asked = replace(asked, cluster=replace(asked.cluster, nodes=nodes, devices_per_node=2))

    def on_host(size):
        known = machine()
        assert known.host is not None
        return replace(known, host=replace(known.host, host_memory_bytes=size))

    (one, *_) = search(asked, on_host(0)).plans  # not known: enough
    kept = 2 * one.prediction.optimizer_bytes[0]
    assert search(asked, on_host(kept)).best.risk < 0.01
    with pytest.raises(NothingFits) as found:
        search(asked, on_host(kept - 1))
    whose = "all ranks of a host" if nodes > 1 else "all ranks"
    told = f"{whose} together need {Bytes(kept)} of the {Bytes(kept - 1)} that their host has; rank 0 dies first: "
    assert told + f"it needs {Bytes(kept // 2)}, most of it optimizer: " in str(found.value)
    assert "plan.zero = 1: " in str(found.value)


def test_nothing_fits_names_what_dominates():
    with pytest.raises(NothingFits) as caught:
        search(job(2), machine(cores=2, memory=10**6))
    message = str(caught.value)
    smallest = min(free(2).plans, key=lambda one: sum(one.prediction.memory_bytes))
    assert "rank 0 dies first" in message or "rank 1 dies first" in message
    assert f"microbatch {smallest.plan.microbatch}" in message
    assert "of the 977 KiB that they share" in message
    assert any(kind in message for kind in ("optimizer:", "activations:"))


@pytest.mark.parametrize(
    ("fixed", "fewer"),
    [
        ({"tensor": 2}, "optimizer: .*; fewer with offload, more ranks, sgd, or a smaller model;"),
        (
            {"data": 2, "zero": 0},
            "optimizer: .*; fewer with offload, zero = 1, more tensor or pipeline ranks, sgd, or ",
        ),
        (
            {"tensor": 2, "sequence_parallel": False, "microbatch": 8},
            "activations: .*; fewer with sequence_parallel, a smaller microbatch, more ranks, or shorter sequences;",
        ),
    ],
)
def test_what_is_advised_against_too_many_bytes_is_left_to_the_plan(fixed, fewer):
    with pytest.raises(NothingFits, match=fewer):
        search(job(2, **fixed), machine(memory=500_000))


@pytest.mark.parametrize(
    ("fixed", "advice", "change"),
    [
        ({"data": 4, "zero": 0}, "zero = ", lambda job: replace(job, constraints={"data": 4})),
        ({"microbatch": 8}, "microbatch = ", lambda job: replace(job, constraints={})),
        ({}, "offload = ", lambda job: replace(job, constraints={"offload": "optimizer"})),
    ],
)
def test_the_change_that_would_fit_does(fixed, advice, change):
    """Memory in which the changed job just fits, and the job itself does not."""
    roomy = search(change(job(4)), machine()).plans
    asked = job(4, **fixed)
    least = min(max(one.prediction.memory_bytes) for one in roomy if one.plan.microbatch == 1)
    tight = machine(memory=room_for(least))
    with pytest.raises(NothingFits) as caught:
        search(asked, tight)
    assert f"the nearest change of each kind that would fit: plan.{advice}" in str(caught.value)
    best = search(change(asked), tight).best.prediction.step_seconds
    (bound,) = re.findall(rf"plan\.{advice}.*?, at most ([\d.]+) ms a step", str(caught.value))
    assert 1e3 * best <= float(bound) * 1.01


def test_more_ranks_or_shorter_sequences_are_tried_and_nothing_is_promised_that_fails():
    with pytest.raises(NothingFits) as caught:
        search(job(2), machine(memory=100))
    assert "nothing that was tried would fit; nearest comes" in str(caught.value)
    with pytest.raises(NothingFits, match=r"the nearest change of each kind that would fit: \d+ ranks"):
        search(job(2), machine(memory=600_000))


def test_an_illegal_job_is_refused_with_its_problems():
    with pytest.raises(IllegalJob, match=r"plan\.tensor"):
        search(job(4, tensor=64), MACHINE)


def test_a_machine_without_links_plans_for_one_rank_only():
    alone = replace(MACHINE, collectives=())
    assert search(job(1), alone).best.plan.ranks == 1
    with pytest.raises(UnusableInput, match="run `plait profile`"):
        search(job(2), alone)


def test_a_measurement_of_the_contract_s_three_keys_is_enough():
    bare = replace(machine(), host=None)
    assert search(job(4), bare).best.prediction.step_seconds > 0

"""Layers, heads and rows by speed: who is slower has less, what is fixed is kept, and no step is slower for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.planner.deals import deals
from plait.planner.prices import JobPrices
from plait.planner.search import search
from plait.planner.simulator import played
from plait.plans.plan import Plan
from plait.sharding.mesh_shape import MeshShape
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.training import TrainingSpec
from tests.planner.machines import machine
from tests.planner.test_search import MODEL

FREE = machine(flops=1e9, latency=1e-9, link=1e15)  # nothing but computing takes time
DEEP = replace(MODEL, layers=12, heads=6, kv_heads=6, hidden=96, ffn=96, vocab=4)  # next to no head
TRAINING = TrainingSpec(global_batch=32, sequence_length=32)


def job(ranks=2, model=DEEP, **constraints):
    return Job(model=model, training=TRAINING, cluster=ClusterSpec(ranks=ranks), constraints=constraints)


def dealt(mesh, *speeds, **constraints):
    asked = job(mesh.ranks, **constraints)
    return list(deals(asked, mesh, JobPrices(DEEP, TRAINING, replace(FREE, speeds=speeds))))


def test_a_slow_stage_has_fewer_layers():
    assert dealt(MeshShape(pipeline=2), 1.0, 0.5) == [{"stages": (8, 4)}, {}]
    assert dealt(MeshShape(pipeline=2), 0.5, 1.0) == [{"stages": (4, 8)}, {}]
    assert dealt(MeshShape(pipeline=2), 1.0, 0.97) == [{}]


def test_a_slow_tensor_rank_has_fewer_heads():
    assert dealt(MeshShape(tensor=2), 1.0, 0.5) == [{"tensor_shares": (4, 2)}, {}]
    assert dealt(MeshShape(tensor=3), 0.5, 1.0, 0.5) == [{"tensor_shares": (2, 3, 1)}, {}]


def test_what_is_fixed_is_kept():
    assert dealt(MeshShape(pipeline=2), 1.0, 0.5, stages=(6, 6)) == [{}]
    assert dealt(MeshShape(tensor=2), 1.0, 0.5, tensor_shares=(1, 1)) == [{}]


def test_a_replica_s_pace_follows_from_its_stages():
    """Ranks 0 and 1 are the first stages of two replicas, 2 and 3 the second ones: replica 1 has the slow one."""
    found = dealt(MeshShape(data=2, pipeline=2), 1.0, 1.0, 1.0, 0.5)
    assert any(one.get("stages") == (8, 4) for one in found)
    assert any(one.keys() == {"data_shares"} and one["data_shares"][0] > one["data_shares"][1] for one in found)
    assert {} in found


@pytest.mark.parametrize("axis", ["pipeline", "tensor"])
def test_the_search_takes_them_and_says_so(axis):
    unlike = replace(FREE, speeds=(1.0, 0.5))
    best = search(job(**{axis: 2}), unlike).best
    key, even = {"pipeline": ("stages", (6, 6)), "tensor": ("tensor_shares", (1, 1))}[axis]
    equal = search(job(**{axis: 2, key: even}), unlike).best
    assert best.prediction.step_seconds <= 0.8 * equal.prediction.step_seconds
    (slow,) = [one for one in search(job(**{axis: 2}), unlike).paces if one.speed < 1]
    assert (slow.axis, slow.place) == (axis, 1)
    assert slow.share == {"pipeline": 4, "tensor": 2}[axis]


@settings(max_examples=25)
@given(
    st.lists(st.floats(0.3, 1.0), min_size=4, max_size=4),
    st.sampled_from([(4, 1, 1), (1, 2, 2), (2, 2, 1), (2, 1, 2), (1, 1, 4), (1, 3, 1)]),
)
def test_the_best_deal_is_never_slower_than_equal_parts(speeds, sizes):
    data, tensor, pipeline = sizes
    mesh = MeshShape(data=data, tensor=tensor, pipeline=pipeline)
    fixed = {**vars(mesh), "microbatch": 1, "schedule": "gpipe", "zero": 0, "sequence_parallel": False}
    unlike = replace(FREE, speeds=tuple(speeds[: mesh.ranks]))
    plans = search(job(mesh.ranks, **fixed), unlike)
    prices = JobPrices(DEEP, TRAINING, unlike)
    equal = Plan(**fixed, stages=(12,), tensor_shares=(1,) * tensor, data_shares=(1,) * data)
    equal = replace(equal, stages=prices.balanced(equal))
    equal = replace(equal, bucket_bytes=prices.bucket_bytes(equal))
    assert any(one.plan == equal for one in plans.plans)
    assert plans.best.prediction.step_seconds <= played(equal, prices).step.seconds * (1 + 1e-9)


def test_each_stage_has_its_own_speed():
    prices = JobPrices(DEEP, TRAINING, replace(FREE, speeds=(1.0, 0.5)))
    plan = Plan(pipeline=2, stages=(8, 4), microbatch=1)
    cost = prices.step(plan)
    assert cost.working(1) == pytest.approx(cost.working(0), rel=0.02)
    alike = JobPrices(DEEP, TRAINING, FREE).step(plan)
    assert cost.working(0) == alike.working(0)
    assert cost.working(1) == pytest.approx(2 * alike.working(1), rel=1e-3)

"""Context and experts, which are planned for before they run: a job is legal if and only if some arrangement is, and
the arrangements are those that a look at every degree finds."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.plans.arrangements import arrangements, filling
from plait.plans.completion import complete
from plait.plans.describe import describe, plan_name
from plait.plans.legality import is_legal, plan_problems, problems
from plait.plans.plan import Plan
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.model import Experts, ModelSpec
from plait.specs.training import TrainingSpec

MODEL = ModelSpec(layers=3, hidden=8, heads=4, kv_heads=4, ffn=8, vocab=300, max_positions=8)


def job_of(experts=None, ranks=8, batch=4, tokens=8, layers=3, **constraints) -> Job:
    found = None if experts is None else Experts(count=experts, per_token=1, ffn=4)
    return Job(
        model=replace(MODEL, experts=found, layers=layers),
        training=TrainingSpec(global_batch=batch, sequence_length=tokens),
        cluster=ClusterSpec(ranks=ranks, device="h200"),
        constraints=constraints,
    )


def found_by_looking(job: Job) -> list[tuple[int, int, int]]:
    """(data, tensor, pipeline) that the job allows."""
    fixed, context, expert = job.constraints, job.constraints.get("context", 1), job.constraints.get("expert", 1)
    count = job.model.experts.count if job.model.experts else 1
    if context > job.training.sequence_length or count % expert:
        return []
    return [
        (data, tensor, pipeline)
        for data, tensor, pipeline in product(range(1, 13), repeat=3)
        if data * tensor * pipeline * context == job.cluster.ranks
        and data <= job.training.global_batch and tensor <= job.model.heads and pipeline <= job.model.layers
        and data * tensor * context % expert == 0
        and all(fixed.get(axis, size) == size
                for axis, size in (("data", data), ("tensor", tensor), ("pipeline", pipeline)))
    ]  # fmt: skip


@given(st.data())
def test_a_job_is_legal_if_some_arrangement_is(data):
    degree = st.sampled_from([1, 2, 3, 4, 6])
    names = ("data", "tensor", "pipeline", "context", "expert")
    fixed = {name: data.draw(degree) for name in names if data.draw(st.booleans())}
    job = job_of(
        experts=data.draw(st.sampled_from([None, 2, 4, 6])), ranks=data.draw(st.integers(1, 12)),
        batch=data.draw(st.integers(1, 4)), tokens=data.draw(st.sampled_from([2, 8])),
        layers=data.draw(st.integers(1, 3)), **fixed,
    )  # fmt: skip
    looked = found_by_looking(job)
    assert is_legal(job) == bool(looked)
    assert bool(problems(job)) != is_legal(job)
    if is_legal(job):
        meshes = arrangements(job, job.cluster.ranks)
        assert sorted((mesh.data, mesh.tensor, mesh.pipeline) for mesh in meshes) == sorted(looked)
        plan = complete(job)
        assert plan.ranks == job.cluster.ranks
        assert plan_problems(job, plan) == []


@pytest.mark.parametrize(
    ("job", "key", "said"),
    [
        (job_of(expert=2), "plan.expert", "no experts to split"),
        (job_of(experts=6, expert=4), "plan.expert", "does not divide the 6 experts"),
        (job_of(experts=4, data=2, tensor=1, expert=4, ranks=6), "plan.expert", "= 2 ranks that have the experts"),
        (job_of(context=16, ranks=16), "plan.context", "exceeds the 8 tokens"),
        (job_of(context=3), "plan.context", "3 does not divide 8"),
        (job_of(context=2, data=2, tensor=1, pipeline=1), "plan.data", "but the cluster has 8"),
    ],
)
def test_what_does_not_work_out_is_explained(job, key, said):
    (problem,) = problems(job)
    assert problem.key == key
    assert said in problem.message
    assert problem.legal


def test_experts_fill_only_whole_groups_of_ranks():
    assert [*filling(job_of(experts=4, expert=4), 8)]
    assert not [*filling(job_of(experts=4, expert=4, pipeline=3), 6)]


def test_they_are_told_in_words():
    plan = Plan(data=2, context=2, expert=4, tensor=2, stages=(3,), tensor_shares=(1, 1), data_shares=(1, 1))
    assert plan.ranks == 8
    assert plan_name(plan) == "data 2 × context 2 × tensor 2, expert 4, microbatch 1"
    assert "Each sequence is split over 2 ranks" in describe(plan)
    assert "Experts are split over 4 of the ranks that share a stage." in describe(plan)

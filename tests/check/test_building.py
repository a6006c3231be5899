"""`check` says no if and only if building the plan raises: with the same words, on every rank, before anything is sent.

Plans are made by hand here, as a user's program may make them, past every command: by hypothesis for one rank of a mesh
that is not there, and a few for ranks that are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import plait
from plait.collectives.process_groups import Group, Mesh, build_mesh
from plait.errors import IllegalJob, Problem
from plait.models.gpt import Decoder
from plait.models.sequences import Sequences
from plait.parallel.apply import parallelize
from plait.plans.completion import complete
from plait.plans.legality import batch_problems, broken_rules, is_legal, module_problems, plan_problems
from plait.plans.plan import Plan
from plait.sharding.mesh_shape import AXES, MeshShape
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.training.optimizer import Optimizer
from plait.training.step import train_step
from tests.plans.drawn import jobs

MODEL = ModelSpec(layers=4, hidden=16, heads=4, kv_heads=4, ffn=32, vocab=300, max_positions=8)
PLAN = Plan(stages=(4,), microbatch=2)


@st.composite
def plans_by_hand(draw) -> tuple[ModelSpec, Plan]:
    """A model, and a plan that nobody completed: its lists need not be as long as its degrees."""
    drawn = draw(jobs())
    model = replace(drawn.model, vocab=300, max_positions=8)
    keys = {"stages": (model.layers,), **drawn.constraints}
    if draw(st.booleans()):
        free = replace(drawn, model=model, constraints={})
        whole = vars(complete(free)) if is_legal(free) else {}
        keys = {**whole, **keys} if draw(st.booleans()) else {**keys, **whole}
    return model, Plan(**keys)


def fixed_job(model: ModelSpec, plan: Plan) -> Job:
    """A job that fixes all of the plan, with a batch and a precision that can't be to blame."""
    training = TrainingSpec(
        global_batch=plan.data * plan.microbatch,
        sequence_length=max(8, plan.tensor),
        precision="fp64" if plan.gradient_precision == "fp64" else "fp32",
    )
    return Job(model=model, training=training, cluster=ClusterSpec(ranks=plan.ranks), constraints=vars(plan))


def said(problems: Iterable[Problem]) -> list[tuple[str, str]]:
    return [(problem.key, problem.message) for problem in problems]


def parts_of(problems: Iterable[Problem]) -> set[str]:
    """Every complaint, also those that are told along with another."""
    return {part for problem in problems for part in problem.message.split("; and ")}


def some_rank_of(shape: MeshShape) -> Mesh:
    """The last rank's view of a mesh, without a process behind it."""
    rank = shape.ranks - 1
    groups = {axis: shape.group(rank, axis) for axis in AXES}
    axes = {axis: Group(axis=axis, ranks=ranks, index=ranks.index(rank)) for axis, ranks in groups.items()}
    return Mesh(shape=shape, rank=rank, axes=axes)


def decoder_of(model: ModelSpec) -> Decoder:
    with torch.device("meta"):
        return Decoder(model)


@settings(max_examples=150)
@given(plans_by_hand())
def test_building_raises_what_check_says_and_only_then(drawn):
    """What is offered, and so what it mends in passing, may depend on the batch, which is not known when building."""
    model, plan = drawn
    job = fixed_job(model, plan)
    told = plait.check(job).errors
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plait.parallel.apply.ParallelModel", lambda **parts: parts)  # which would join groups
        if not told:
            assert parallelize(decoder_of(model), plan, some_rank_of(plan.mesh))["plan"] == plan
            return
        module = torch.nn.Module()  # a model that is wrong itself can't even be made
        module.spec = model  # type: ignore[assignment]
        with pytest.raises(IllegalJob) as caught:
            parallelize(module, plan, some_rank_of(plan.mesh))  # type: ignore[arg-type]
    raised = caught.value.problems
    assert raised[0].message.split("; and ")[0] == told[0].message.split("; and ")[0]
    assert parts_of(raised) <= parts_of(told) == {rule.breach(job).message for rule in broken_rules(job)}  # all at once


@settings(max_examples=150)
@given(jobs())
def test_completing_and_planning_raise_what_check_says(job):
    job = replace(job, model=replace(job.model, vocab=300, max_positions=job.training.sequence_length))
    told = plait.check(job).errors
    if not told:
        assert plan_problems(job, complete(job)) == []
        return
    for build in (complete, plait.plan):
        with pytest.raises(IllegalJob) as caught:
            build(job)
        assert sorted(said(caught.value.problems)) == sorted(said(told))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tensor": 5, "tensor_shares": (1,) * 5}, "tensor = 5 exceeds the 4 heads"),
        ({"stages": (3,)}, "3 layers together, the model has 4"),
        ({"tensor": 2}, "has 1 number for tensor = 2"),
        ({"tensor": 3, "tensor_shares": (9, 9, 1)}, "leave tensor rank 2 without any of the 4 heads"),
        ({"pipeline": 3, "stages": (4, 0, 0)}, "0 of stage 1 in stages = [4, 0, 0]"),
        ({"tensor": 0, "tensor_shares": ()}, "tensor = 0 is out of range"),
        ({"data": 2, "data_shares": (2, 1, 1)}, "has 3 numbers for data = 2"),
        ({"schedule": "zb-v"}, "gives each rank 2 stages"),
        ({"zero": 4}, "zero = 4"),
        ({"microbatch": "2"}, "is a text"),
        ({"tensor_shares": (float("nan"),)}, "not finite"),
        ({"data": "x"}, "is a text"),
    ],
)
def test_what_a_hand_can_get_wrong(changes, words):
    plan = replace(PLAN, **changes)
    mesh = MeshShape(data=1) if isinstance(plan.data, str) or not plan.ranks else plan.mesh
    with pytest.raises(IllegalJob) as caught:
        parallelize(decoder_of(MODEL), plan, some_rank_of(mesh))
    assert any(words in str(problem) for problem in caught.value.problems), caught.value


def test_a_mesh_of_another_shape_is_refused():
    plan = replace(PLAN, data=2, data_shares=(1, 1))
    found = module_problems(MODEL, plan, MeshShape(tensor=2))
    assert [(problem.key, problem.legal) for problem in found] == [("plan.data", (1,)), ("plan.tensor", (2,))]
    assert module_problems(MODEL, plan, plan.mesh) == []
    assert "but the cluster has 4" in str(module_problems(MODEL, plan, MeshShape(data=4))[0])


def test_lists_do_for_tuples():
    assert parallelize(decoder_of(MODEL), replace(PLAN, stages=[4], tensor_shares=[1]), build_mesh(PLAN.mesh))


# ---- the batch ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch", "length", "key"),
    [(4, 8, None), (2, 3, None), (3, 8, None), (1, 8, "plan.microbatch"), (4, 9, "training.sequence_length"),
     (4, 2, "plan.sequence_parallel"), (None, 8, None), (None, 9, "training.sequence_length")],
)  # fmt: skip
def test_batches(batch, length, key):
    plan = replace(PLAN, tensor=3, tensor_shares=(1, 1, 1), sequence_parallel=True)
    found = batch_problems(MODEL, plan, batch, length)
    assert [problem.key for problem in found] == ([] if key is None else [key])


# ---- ranks that are there -------------------------------------------------------------------------------------------


def built(plan: Plan) -> str:
    try:
        parallelize(decoder_of(MODEL), plan, build_mesh(MeshShape(tensor=2)))
    except IllegalJob as error:
        return str(error)
    return ""


def test_every_rank_raises_before_the_first_message(run_on_ranks):
    wrong = replace(PLAN, tensor=2, tensor_shares=(99, 1))
    told = run_on_ranks(2, built, wrong)
    assert told == ["\n".join(map(str, plait.check(fixed_job(MODEL, wrong)).errors))] * 2
    assert "tensor rank 1 without any of the 4 heads" in told[0]
    assert run_on_ranks(2, built, replace(wrong, tensor_shares=(3, 1))) == ["", ""]


def stepped(plan: Plan, batch: int, length: int) -> str:
    model = parallelize(decoder_of(MODEL), plan, build_mesh(plan.mesh))
    optimizer = Optimizer(model.weights, model.gradients, dict.fromkeys(model.weights, False), TrainingSpec())
    tokens = torch.zeros(batch, length + 1, dtype=torch.long)
    rows = Sequences.of(tokens[:, :-1], tokens[:, 1:])
    try:
        train_step(model, optimizer, rows, batch * length, TrainingSpec())
    except IllegalJob as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("batch", "length", "words"),
    [(4, 8, ""), (3, 8, ""), (4, 9, "exceeds the 8 positions"), (4, 1, "from tensor rank 1 on")],
)
def test_every_rank_refuses_a_batch_at_the_step(run_on_ranks, batch, length, words):
    plan = replace(PLAN, tensor=2, tensor_shares=(1, 1), sequence_parallel=True)
    for told in run_on_ranks(2, stepped, plan, batch, length):
        assert (words in told) if words else told == ""

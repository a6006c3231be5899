"""Compression under verify: LOSSY where the plan loses something on purpose, and a mistake is one all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.defects import Defect, plant
from plait.planner.work import work_of_ranks
from plait.plans.meetings import pace_of
from plait.plans.plan import Plan
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.verification.lossy import at_once
from plait.verification.verify import verify_plan

GPT2 = ModelSpec(layers=2, hidden=12, heads=3, kv_heads=3, ffn=18, vocab=31, max_positions=9)
TRAINING = TrainingSpec(global_batch=8, sequence_length=9)
DP2 = Plan(data=2, data_shares=(1, 1), stages=(2,), microbatch=2, bucket_bytes=4096, compression="int8")
DP2_TP2 = replace(DP2, tensor=2, tensor_shares=(1, 1), sequence_parallel=True)
DP2_TP2_PP2 = replace(DP2_TP2, pipeline=2, stages=(1, 1), sequence_parallel=False, compression="powersgd:1")


@pytest.fixture
def verify(run_on_ranks):
    def one(plan, training=TRAINING, model=GPT2):
        return verify_plan(Job(model=model, training=training), plan, run=run_on_ranks, work_of=work_of_ranks)

    return one


@pytest.mark.parametrize(
    ("plan", "training"),
    [
        (DP2, TRAINING),
        (
            replace(DP2, data=4, data_shares=(1,) * 4, microbatch=1, compression="fp16"),
            replace(TRAINING, clip_norm=0.0),
        ),
        (DP2_TP2, replace(TRAINING, optimizer="sgd")),
        (DP2_TP2_PP2, TRAINING),
        (replace(DP2, compression="topk:0.1"), replace(TRAINING, precision="bf16")),
    ],
    ids=["int8", "fp16 on four", "int8 tp2 sp", "powersgd everywhere", "topk, bf16"],
)
def test_a_compressed_plan_is_lossy_and_no_more(verify, plan, training):
    found = verify(plan, training)
    assert found.verdict == "LOSSY"
    assert not found.denied
    assert found.culprit is None
    assert found.departures == ()
    assert not [row for row in found.tensors if row.axes]
    before = [row for row in found.tensors if row.kind in ("value", "loss") and "/evaluated" not in row.name]
    restored = [row for row in found.tensors if row.name.endswith("/restored")]
    assert before
    assert restored
    assert {row.verdict for row in (*before, *restored)} <= {"EXACT", "REASSOCIATION", "ZERO"}
    assert "the mathematics" in str(found)


class ResidualForgotten(Defect):
    """What a rounded sum lost is not kept for the next step."""

    name, issue = "residual-forgotten", "own"
    wraps = "plait.collectives.rounded:Rounded._sum"

    def instead(self, add_up, form, *args):
        form.residual.zero_()
        return add_up(form, *args)


@pytest.mark.parametrize(
    "plan",
    [
        replace(DP2, synchronisation="local-sgd", compression="none", local_steps=4),
        replace(DP2_TP2_PP2, synchronisation="diloco", compression="int8"),
        replace(DP2, synchronisation="diloco", compression="none", data_shares=(3, 1)),
    ],
    ids=["local sgd", "diloco everywhere, int8", "diloco of unequal replicas"],
)
def test_replicas_that_learn_alone_are_lossy_and_no_more(verify, plan):
    found = verify(plan)
    assert found.verdict == "LOSSY", str(found)
    assert found.departures == ()
    assert not [row for row in found.tensors if row.axes]
    gradients = [row for row in found.tensors if row.kind == "gradient"]
    assert gradients
    assert {row.verdict for row in gradients} <= {"EXACT", "REASSOCIATION", "ZERO"}
    assert {row.kind for row in found.tensors if row.verdict == "LOSSY"} == {"weight", "value", "loss"}


SERVED = replace(DP2, synchronisation="parameter-server", compression="none", staleness=2)
UNTIED = replace(GPT2, tie_embeddings=False)


@pytest.mark.parametrize(
    ("plan", "training"),
    [
        (SERVED, TRAINING),
        (replace(SERVED, data=3, data_shares=(1,) * 3, servers=1, staleness=-1), replace(TRAINING, precision="bf16")),
        (replace(SERVED, pipeline=2, stages=(1, 1), staleness=1), TRAINING),
    ],
    ids=["dp2", "one serves alone, bf16", "dp2 pp2"],
)
def test_portions_that_are_applied_as_they_come_are_lossy_and_no_more(verify, plan, training):
    found = verify(plan, training, UNTIED)
    assert found.verdict == "LOSSY", str(found)
    assert f"staleness = {plan.staleness}" in str(found)
    assert found.departures == ()
    assert not [row for row in found.tensors if row.axes]
    before = [row for row in found.tensors if row.kind in ("gradient", "value") and not row.entry.evaluated]
    assert before
    assert {row.verdict for row in before} <= {"EXACT", "REASSOCIATION", "ZERO"}
    assert {row.kind for row in found.tensors if row.verdict == "LOSSY"} == {"weight", "value", "loss"}


@pytest.mark.parametrize("staleness", [0, 2])
def test_a_server_is_proven_where_it_waits_and_lossy_where_not(verify, staleness):
    found = verify(replace(SERVED, staleness=staleness))
    assert found.verdict == ("LOSSY" if staleness else "REASSOCIATION")
    assert found.departures == ()


@pytest.mark.parametrize(
    ("defect", "axis", "plan"),
    [
        ("norm-gradient-partial", "tensor", DP2_TP2),  # a gradient before its sum over replicas
        ("row-bias-on-every-rank", "tensor", DP2_TP2),  # a value
        ("norm-of-own-part", "tensor", DP2_TP2),  # behind the lossy sums: its dense twin has it, too
        ("divided-by-local-tokens", "data", DP2),
        ("mean-of-means", "data", SERVED),  # each portion's gradient, put together
        ("last-slice-not-updated", "data", SERVED),  # behind what is lossy: the same servers, waiting, have it, too
        ("residual-forgotten", "data", DP2),
        ("norm-gradient-partial", "tensor", replace(DP2_TP2, synchronisation="diloco", compression="none")),
    ],
)
def test_a_mistake_is_one_all_the_same(verify, defect, axis, plan):
    with plant(defect, axis=None if defect == "residual-forgotten" else axis):
        found = verify(plan)
    assert found.verdict == "BUG"
    assert found.culprit.axis == axis


@pytest.mark.parametrize("more", [{"compression": "topk:0.1"}, {"synchronisation": "diloco", "local_steps": 9}])
def test_what_is_proven_is_the_plan_s_own_choice_and_not_its_dense_beginning(more):
    training = replace(TRAINING, warmup_steps=20)
    own, plan = at_once(training, replace(DP2, **{"compression": "none", **more}))
    assert own == replace(training, warmup_steps=0)
    assert plan.local_steps == 1
    assert [pace_of(plan, own, step) for step in (0, 1)] == ["meets", "meets"]
    assert at_once(training, DP2) == (training, DP2)  # int8 is as it is from the first step

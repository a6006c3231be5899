"""The first tensor that departs in the order of computation, and the axis that is to blame."""

from __future__ import annotations

import pytest

from plait.layers.gpt import describe_gpt
from plait.plans.plan import Plan
from plait.sharding.mesh_shape import AXES
from plait.specs.model import ModelSpec
from plait.verification.culprit import blamed_axis, first_departing, layer_of, without
from plait.verification.evidence import Row
from plait.verification.trace import Entry

MODEL = ModelSpec(layers=2, hidden=8, heads=2, kv_heads=2, ffn=16, vocab=11, max_positions=4)
LAYERS = describe_gpt(MODEL)
PLAN = Plan(
    data=2, tensor=3, pipeline=2, stages=(1, 1), data_shares=(1, 1), tensor_shares=(1, 1, 2), sequence_parallel=True
)

ORDER = [
    ("value", "embedding"),
    ("value", "block 1"),
    ("loss", "loss"),
    ("gradient", "transformer.ln_f.bias"),
    ("gradient", "transformer.ln_f.weight"),
    ("value", "block 1/gradient"),
    ("gradient", "transformer.h.1.mlp.c_proj.weight"),
    ("gradient", "transformer.h.1.ln_1.weight"),
    ("value", "block 0/gradient"),
    ("gradient", "transformer.h.0.ln_1.weight"),
    ("value", "embedding/gradient"),
    ("gradient", "transformer.wte.weight"),
    ("norm", "norm"),
    ("norm", "norm/clipped"),
    ("optimizer", "transformer.wte.weight/exp_avg_sq"),
    ("weight", "transformer.wte.weight"),
    ("weight", "transformer.ln_f.bias"),
    ("value", "embedding/evaluated"),
    ("value", "block 1/evaluated"),
    ("loss", "loss/evaluated"),
]


def row(kind, name, *, step=1, verdict="BUG", axes=(), precision="fp64") -> Row:
    return Row(
        name=name, kind=kind, step=step, precision=precision, verdict=verdict, error=1.0, error_eps=1.0, axes=axes
    )


def test_the_order_is_that_of_computation():
    rows = [row(kind, name, step=step) for step in (2, 1) for kind, name in reversed(ORDER)]
    found = []
    while rows:
        first = first_departing(rows, LAYERS)
        assert first is not None
        found.append((first.step, first.kind, first.name))
        rows.remove(first)
    assert found == [(step, kind, name) for step in (1, 2) for kind, name in ORDER]


def test_only_what_is_wrong_counts():
    wrong = row("weight", "transformer.ln_f.bias", step=2)
    others = [row("value", "embedding", verdict=verdict) for verdict in ("EXACT", "REASSOCIATION", "NONFINITE")]
    assert first_departing([*others, wrong], LAYERS) == wrong
    assert first_departing(others, LAYERS) == others[-1]
    assert first_departing(others[:2], LAYERS) is None


def test_a_tensor_that_nobody_knows_comes_last():
    stray, known = row("gradient", "stray"), row("weight", "transformer.ln_f.bias")
    assert first_departing([stray, known], LAYERS) == known
    assert first_departing([stray], LAYERS) == stray


@pytest.mark.parametrize(
    ("entry", "layer"),
    [
        (Entry(1, "value", "block 1/gradient"), "block 1"),
        (Entry(1, "loss", "loss"), "head"),
        (Entry(1, "gradient", "transformer.wte.weight"), "embedding"),
        (Entry(2, "optimizer", "transformer.h.1.ln_1.weight/exp_avg"), "block 1"),
        (Entry(1, "norm", "norm"), None),
    ],
)
def test_a_tensor_belongs_to_a_layer(entry, layer):
    assert layer_of(entry, LAYERS) == layer


def test_copies_that_differ_along_one_axis_name_it():
    blamed = blamed_axis(row("gradient", "x", axes=("tensor",)), PLAN, lambda plan: pytest.fail("not asked"))
    assert blamed == "tensor"


@pytest.mark.parametrize("axis", AXES)
def test_where_copies_agree_the_axis_is_found_by_leaving_it_out(axis):
    assert blamed_axis(row("norm", "norm"), PLAN, lambda plan: plan.mesh.size(axis) == 1) == axis


def test_axes_that_do_not_differ_are_not_suspected_where_several_do():
    wrong = row("weight", "x", axes=("data", "pipeline"))
    assert blamed_axis(wrong, PLAN, lambda plan: plan.data == 1 or plan.tensor == 1) == "data"
    assert blamed_axis(wrong, PLAN, lambda plan: False) == "data+pipeline"


def test_no_axis_is_blamed_for_what_none_cures():
    assert blamed_axis(row("loss", "loss"), PLAN, lambda plan: False) is None


def test_an_axis_of_one_rank_is_not_suspected():
    single = Plan(data=2, data_shares=(1, 1), stages=(2,))
    asked: list[Plan] = []
    assert blamed_axis(row("loss", "loss"), single, lambda plan: bool(asked.append(plan))) is None
    assert asked == [without(single, "data")]


@pytest.mark.parametrize("axis", AXES)
def test_a_plan_without_an_axis_is_complete(axis):
    left = without(PLAN, axis)
    assert left.mesh.size(axis) == 1
    assert left.ranks == PLAN.ranks // PLAN.mesh.size(axis)
    assert len(left.stages) == left.pipeline
    assert sum(left.stages) == 2
    assert len(left.data_shares) == left.data
    assert len(left.tensor_shares) == left.tensor
    assert left.sequence_parallel == (axis != "tensor")

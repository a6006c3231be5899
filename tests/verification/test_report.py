"""The document is the contract's, and the words say what the verdict is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from plait.verification.culprit import Culprit
from plait.verification.evidence import Row
from plait.verification.report import Verification, document, sentence
from plait.verification.verdict import VERDICTS
from tests.contract.golden import assert_shape, golden

NORM = "transformer.h.0.ln_1.weight"


def verification(verdict="REASSOCIATION", culprit=None) -> Verification:
    row = Row(
        name=NORM,
        kind="gradient",
        step=1,
        precision="fp64",
        verdict=verdict,
        error=1e-15,
        error_eps=4.5,
        axes=("tensor",),
    )
    return Verification(
        verdict=verdict,
        tensors=(row,),
        culprit=culprit,
        kept={"plan.data": 2},
        narrowed={"model.hidden": {"job": 4096, "verified": 8}},
        drift={"fp64": 1e-14, "fp32": 1e-6},
        losses=((4.0, 4.0), (3.9, 3.9)),
        seconds=3.2,
    )


@pytest.mark.parametrize("culprit", [None, Culprit(tensor=NORM, layer="block 0", axis="tensor")])
def test_the_document_has_the_contract_s_shape(culprit):
    found = json.loads(json.dumps(document(verification(culprit=culprit)), allow_nan=False))
    assert_shape(found, golden("verify"))
    assert found["tensors"][0]["error_eps"] == 4.5
    assert found["culprit"] == (None if culprit is None else {"tensor": NORM, "layer": "block 0", "axis": "tensor"})


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_has_words(verdict):
    assert sentence(verification(verdict)).endswith(".")


def test_a_bug_is_told_with_tensor_layer_and_axis():
    told = sentence(verification("BUG", Culprit(tensor=NORM, layer="block 0", axis="tensor")))
    assert "NOT the same model" in told
    assert f"{NORM}, in block 0, along the tensor axis" in told


def test_it_reads_as_its_verdict_and_a_sentence():
    assert (
        str(verification("EXACT", None)) == "EXACT: The parallel run is the same model as one process, to the last bit."
    )


def test_an_axis_that_ranks_left_no_room_for_is_named():
    narrowed = {"plan.data": {"job": 4, "verified": 1}, "plan.tensor": {"job": 4, "verified": 2}}
    assert sentence(replace(verification("EXACT", None), narrowed=narrowed)).endswith(
        "NOT proven: the data axis, which these few ranks leave no room for (--ranks)."
    )


def test_work_that_is_not_the_plan_s_is_told_though_every_value_is_right():
    culprit = Culprit(tensor="forward FLOPs of block 1", layer="block 1", axis="tensor")
    told = sentence(replace(verification("REASSOCIATION", culprit), verdict="BUG"))
    assert "Every value is right" in told
    assert "forward FLOPs of block 1, along the tensor axis" in told


def test_a_bug_without_an_axis_says_so():
    told = sentence(verification("BUG", Culprit(tensor="norm", layer=None, axis=None)))
    assert "none of them is to blame" in told


def test_what_can_not_be_proven_names_its_tensor():
    assert NORM in sentence(verification("NONDETERMINISTIC"))
    assert "loss" in sentence(verification("NONFINITE", Culprit(tensor="loss", layer="head", axis=None)))

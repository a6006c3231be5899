"""The published module as a witness: it says the same as the reference, and tells when the model itself is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.defects import Defect, plant
from plait.errors import UnusableInput
from plait.specs.job import Job
from plait.verification.verify import verify_plan
from tests.verification.test_verify import DP2, GPT2, LLAMA, TRAINING


class WrongInTheModel(Defect):
    """The plain model itself is wrong: its embedding is a little too large, on one device and on many alike."""

    name, issue = "wrong-in-the-model", "own"
    wraps = "plait.models.gpt:Decoder.embed"

    def instead(self, embed, *args):
        return embed(*args) * (1 + 1e-6)


@pytest.fixture
def heard(run_on_ranks):
    def one(model):
        return verify_plan(Job(model=model, training=TRAINING), DP2, run=run_on_ranks, witness=True)

    return one


@pytest.mark.parametrize("model", [GPT2, LLAMA, replace(GPT2, dropout=0.1)], ids=["gpt2", "llama", "dropout"])
def test_it_says_the_same(heard, model):
    found = heard(model)
    assert {row.verdict for row in found.witness} <= {"EXACT", "REASSOCIATION", "ZERO"}
    assert {row.kind for row in found.witness} == {"loss", "gradient"}
    weights = {row.name for row in found.tensors if row.kind == "weight"}
    assert {row.name for row in found.witness if row.kind == "gradient"} == weights


def test_it_sees_what_both_sides_have_wrong(heard):
    with plant("wrong-in-the-model"):
        found = heard(LLAMA)
    assert {row.verdict for row in found.tensors} <= {"EXACT", "REASSOCIATION"}  # many are the same model as one
    assert (found.verdict, found.culprit.axis) == ("BUG", None)
    assert "BUG" in {row.verdict for row in found.witness}


def test_there_is_none_for_a_shape_that_nobody_published(heard):
    with pytest.raises(UnusableInput, match="no module of this shape"):
        heard(replace(GPT2, activation="swiglu"))

"""A verdict becomes an answer and a sentence; every verdict of the contract has its meaning."""

from math import inf

import pytest

from plait.report.data import Verdict
from plait.report.verdicts import is_same_model, verdict_from_document

ALL = ["EXACT", "REASSOCIATION", "ZERO", "PINNED", "TIE", "LOSSY", "NONDETERMINISTIC", "NONFINITE", "BUG"]


def document(verdict, culprit=None, errors=(0.0, 3.14159, 1.0)):
    return {"verdict": verdict, "tensors": [{"error_eps": error} for error in errors], "culprit": culprit}


def test_the_sentence_has_the_numbers():
    found = verdict_from_document(document("REASSOCIATION"))
    assert found.sentence == "The same, up to the order of sums: 3 tensors compared, the largest error 3.14 eps."


def test_a_bug_is_named_with_its_place():
    culprit = {"tensor": "h.3.ln_1.weight", "layer": "h.3", "axis": "tensor"}
    found = verdict_from_document(document("BUG", culprit))
    assert found.sentence.endswith(" The first that departs is h.3.ln_1.weight (layer h.3, axis tensor).")
    placeless = verdict_from_document(document("BUG", {"tensor": "loss", "layer": None, "axis": None}))
    assert placeless.sentence.endswith(" The first that departs is loss.")


def test_errors_that_are_no_numbers_are_not_the_largest():
    assert "largest error 2 eps" in verdict_from_document(document("NONFINITE", errors=(inf, 2.0, None))).sentence
    assert "largest" not in verdict_from_document(document("NONFINITE", errors=(inf,))).sentence


def test_what_was_narrowed_is_said():
    narrowed = {"model.hidden": {"job": 64, "verified": 8}, "training.clip_norm": {"job": 1.0, "verified": 0.32204}}
    found = verdict_from_document({**document("EXACT"), "narrowed": narrowed})
    assert found.sentence.endswith(" The job was narrowed for the proof: hidden 64 to 8, clip_norm 1 to 0.322.")
    assert "narrowed" not in verdict_from_document({**document("EXACT"), "narrowed": {}}).sentence


@pytest.mark.parametrize("verdict", ALL)
def test_every_verdict_has_a_meaning(verdict):
    assert "unknown" not in verdict_from_document(document(verdict)).sentence


def test_which_verdicts_mean_the_same_model():
    same = [verdict for verdict in ALL if is_same_model(Verdict(verdict=verdict, sentence=""))]
    assert same == ["EXACT", "REASSOCIATION", "ZERO", "PINNED", "TIE"]
    assert not is_same_model(Verdict(verdict="whatever", sentence=""))
    assert "unknown verdict" in verdict_from_document(document("whatever")).sentence

"""Whose doing a difference is: who computes longer is named, and neither who waits for it nor the wire."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.plans.departures import departures, disturbance
from plait.plans.prediction import Prediction, Terms

MS = 1e-3


def terms(compute: float, bubble: float = 10, optimizer: float = 5, **exposed: float) -> Terms:
    return Terms(
        compute=compute * MS,
        bubble=bubble * MS,
        optimizer=optimizer * MS,
        exposed={axis: exposed.get(axis, 0.0) * MS for axis in ("data", "tensor", "pipeline")},
    )


STAGES = (terms(40, bubble=20), terms(50, bubble=10))
SAID = Prediction(
    step_seconds=70 * MS, interval=(66 * MS, 74 * MS), terms=STAGES[1], memory_bytes=(1, 1), weight_bytes=(1, 1),
    gradient_bytes=(1, 1), optimizer_bytes=(1, 1), activation_bytes=(1, 1), flops=(1, 1), collectives=((), ()),
    stages=STAGES, transfers=(2 * MS, 2 * MS),
)  # fmt: skip


def named(told: Terms, stages=STAGES, transfers=(2 * MS, 2 * MS)) -> list[str]:
    return [one.term for one in departures(SAID, told, stages, transfers)]


def test_what_went_as_predicted_has_no_cause():
    assert named(STAGES[1]) == []
    assert named(terms(51.5, bubble=11)) == []


def test_a_slow_stage_is_named_and_who_waits_for_it_is_not():
    slow = (terms(40, bubble=60), terms(90, bubble=10))
    (one,) = departures(SAID, slow[1], slow, SAID.transfers)
    assert (one.term, one.excess) == ("stage 1", pytest.approx(40 * MS))
    assert one.words == "stage 1 computes 1.8 × what was predicted: +40 ms"
    first = (terms(90, bubble=10), terms(50, bubble=50))
    assert named(first[0], first) == ["stage 0"]


def test_stages_that_are_slow_alike_are_told_together():
    slow = (terms(60, bubble=30), terms(76, bubble=14))
    assert named(slow[1], slow) == ["stages"]


def test_a_slow_link_is_communication():
    assert named(terms(50, data=30)) == ["data"]
    waiting = terms(50, bubble=40)
    assert named(waiting, (terms(40, bubble=50), waiting), (32 * MS, 32 * MS)) == ["transfers"]


def test_the_largest_comes_first_and_less_counts_too():
    found = departures(SAID, terms(50, optimizer=15, data=30), STAGES, SAID.transfers)
    assert [one.term for one in found] == ["data", "optimizer"]
    assert "there, and none was predicted" in found[0].words
    quick = (terms(20, bubble=20), terms(50, bubble=10))
    (one,) = departures(SAID, quick[1], quick, SAID.transfers)
    assert one.words == "stage 0 computes 0.5 × what was predicted: −20 ms"


def test_waiting_that_nothing_explains_is_told_as_that():
    assert named(terms(50, bubble=40), STAGES) == ["bubble"]


def test_sums_over_a_pipeline_and_what_passes_between_its_stages_are_told_apart():
    found = departures(SAID, terms(50, pipeline=30), STAGES, (20 * MS, 25 * MS))
    assert [one.words.partition(" take ")[0] for one in found] == [
        "sums over the pipeline after its schedule (tied weights, the norm)",
        "bytes between stages, a part of the bubble,",
    ]


def test_other_programs_are_named_where_they_disturb():
    assert disturbance(None) is None
    assert disturbance(0.2) is None
    assert "kept 1.3 cores busy" in str(disturbance(1.26))


def test_where_no_stage_is_known_the_step_s_own_terms_speak():
    alone = replace(SAID, stages=(), transfers=())
    (one,) = departures(alone, terms(100))
    assert (one.term, one.words) == ("stages", "computing takes 2.0 × what was predicted: +50 ms")

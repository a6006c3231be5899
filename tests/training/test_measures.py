"""What ranks and rank 0 tell over the network comes back equal, through JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from plait.devices.host import Work
from plait.plans.prediction import Prediction, Terms
from plait.schedules.action import Action, Kind
from plait.schedules.timeline import Timed
from plait.training.measures import RankMeasure, in_a_table, measure_from_table, other_cores, typical
from plait.training.result import Measured, TrainingResult, result_from_table, result_table
from plait.training.run_directory import RunDirectory

TERMS = Terms(compute=0.1, bubble=0.2, optimizer=1 / 3, exposed={"data": 0.5, "tensor": 0.0})
TIMELINES = ((Timed(Action(0, Kind.F, 1), 0.1, 0.2), Timed(Action(1, Kind.SEND_B, 0), 0.25, 1e-9)), ())


def test_a_measure_comes_back_equal():
    measure = RankMeasure(
        step_seconds=0.1, terms=TERMS, weight_bytes=1, gradient_bytes=2, optimizer_bytes=3, peak_bytes=4,
        timelines=TIMELINES, work=Work(machine="m", cores=2, everybody=1.5, own=0.9),
    )  # fmt: skip
    assert measure_from_table(json.loads(json.dumps(in_a_table(lambda: measure)))) == measure


def measured(machine: str, everybody: float, own: float) -> RankMeasure:
    return RankMeasure(
        step_seconds=0.1, terms=TERMS, weight_bytes=1, gradient_bytes=2, optimizer_bytes=3, peak_bytes=4,
        timelines=(), work=Work(machine=machine, cores=2, everybody=everybody, own=own),
    )  # fmt: skip


def test_what_ranks_did_not_do_others_did():
    quiet, loud = [measured("a", 1.9, 0.9), measured("a", 1.9, 1.0)], [measured("b", 2.0, 0.5), measured("b", 1.8, 0.6)]
    assert other_cores(quiet) == 0.0
    assert other_cores(loud) == pytest.approx(0.8)
    assert other_cores(quiet + loud) == pytest.approx(0.8), "of the machine that had most of it"
    assert other_cores([measured("c", 1.5, 0.6)]) == 0.0, "a core was left"
    assert other_cores([*quiet, replace(loud[0], work=None)]) is None


def test_what_happens_once_in_a_period_is_in_every_step():
    assert typical([1.0, 5.0, 2.0], 1) == 2.0
    assert typical([1.0, 1.0, 4.0, 1.0, 1.0, 4.0, 100.0], 3) == 2.0  # the last period is not whole
    assert typical([1.0, 3.0], 8) == 2.0


def test_a_result_comes_back_equal():
    prediction = Prediction(
        step_seconds=1.0, interval=(0.9, 1.1), terms=TERMS, memory_bytes=(1, 2), weight_bytes=(1, 2),
        gradient_bytes=(1, 2), optimizer_bytes=(1, 2), activation_bytes=(1, 2), flops=(1, 2), collectives=((), ()),
    )  # fmt: skip
    measured = Measured(
        step_seconds=1.0, compute=0.5, bubble=0.0, optimizer=0.1, exposed={"data": 0.4}, memory_bytes=(5, 6),
        other_cores=0.5,
    )  # fmt: skip
    run = RunDirectory(Path("runs/x"))
    result = TrainingResult(
        run=run, steps=7, validations=((0, 5.0), (7, 4.0)), tokens_per_second=9.0, prediction=prediction,
        measured=measured, periods=2,
    )  # fmt: skip
    assert result_from_table(run, json.loads(json.dumps(result_table(result)))) == result

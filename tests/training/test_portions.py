"""Whole runs under an asynchronous parameter server: what they tell, how a lost rank ends them, what they learn."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from plait import api
from plait.errors import RankFailure
from plait.inference.saved_run import load_run
from plait.parallel.parameter_server import ParameterServer
from plait.training.measures import RankMeasure
from plait.training.rank_trainer import Assignment, train_on_rank
from tests.training.runs import BATCH, LENGTH, MACHINE, STEPS, forked, strict, tiny

SERVED = {"synchronisation": "parameter-server"}


@pytest.mark.parametrize("staleness", [0, 2, -1])
@pytest.mark.parametrize(("ranks", "servers"), [(2, 0), (2, 1), (3, 0), (3, 1)])
def test_a_served_run_is_a_run_as_any_other(tmp_path: Path, rank_pools: Any, ranks, servers, staleness) -> None:
    served = {**SERVED, "data": ranks, "servers": servers, "staleness": staleness}
    job, plan = tiny(tmp_path, cluster={"ranks": ranks}, plan=served)
    told: list[dict[str, Any]] = []
    with forked(rank_pools, tmp_path):
        result = api.train(
            job, plan, run=tmp_path / "run", measurements=MACHINE, samples=["line "], on_event=told.append
        )
    lines = [strict(line) for line in result.run.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert {line["tokens"] for line in lines} == {BATCH * LENGTH}
    assert all(line["seconds"] > 0 and line["predicted_seconds"] == result.prediction.step_seconds for line in lines)
    assert lines[-1]["loss"] < lines[0]["loss"]
    steps = [("step", step) for step in range(1, STEPS + 1)]
    order = [(event["event"], event["step"]) for event in told]
    assert order == [("validation", 0), *steps[:4], ("validation", 4), *steps[4:], ("validation", 6)]
    measured = strict((result.run.path / "measured.json").read_text())
    for kind in ("weight_bytes", "gradient_bytes", "optimizer_bytes"):
        assert tuple(measured[kind]) == getattr(result.prediction, kind)
    assert measured["step_seconds"] > 0
    assert load_run(result.run.path).step == STEPS
    assert strict((result.run.path / "samples.json").read_text())[0]["prompt"] == "line "


def test_stages_share_portions(tmp_path: Path, rank_pools: Any) -> None:
    served = {**SERVED, "data": 2, "pipeline": 2, "staleness": 1}
    job, plan = tiny(tmp_path, model={"tie_embeddings": False}, cluster={"ranks": 4}, plan=served)
    with forked(rank_pools, tmp_path):
        result = api.train(job, plan, run=tmp_path / "run", measurements=MACHINE)
    assert result.validations[-1][1] < result.validations[0][1]


def in_step_2(how: int, assignment: Assignment) -> RankMeasure:
    """As `train_on_rank`; rank 1 is lost at its third portion."""
    taken, calls = ParameterServer.step, []

    def step(server: ParameterServer, learning_rate: float) -> None:
        calls.append(1)
        if os.environ["RANK"] == "1" and len(calls) == 3:
            (assignment.weights.parent / "lost").write_text(str(time.monotonic()))
            os.kill(os.getpid(), how)
        taken(server, learning_rate)

    ParameterServer.step = step  # type: ignore[method-assign]
    return train_on_rank(assignment)


@pytest.mark.parametrize("staleness", [2, -1])
@pytest.mark.parametrize("servers", [0, 1])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_rank_ends_all_within_ten_seconds_and_is_named(
    tmp_path: Path, rank_pools: Any, how: int, servers: int, staleness: int
) -> None:
    served = {**SERVED, "data": 3, "servers": servers, "staleness": staleness}
    job, plan = tiny(tmp_path, training={"steps": 200, "validate_every": 200}, cluster={"ranks": 3}, plan=served)
    with forked(rank_pools, tmp_path) as patch:
        patch.setattr("plait.training.trainer.train_on_rank", partial(in_step_2, int(how)))
        with pytest.raises(RankFailure) as caught:
            api.train(job, plan, run=tmp_path / "run", measurements=MACHINE)
    assert time.monotonic() - float((tmp_path / "run" / "lost").read_text()) < 10
    assert "rank 1" in str(caught.value)

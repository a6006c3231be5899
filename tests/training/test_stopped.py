"""A rank that somebody stops in the middle of a run, whatever its messages travel on: all end soon, and it is named."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from plait import api
from plait.errors import RankFailure
from plait.parallel.model import ParallelModel
from plait.training.measures import RankMeasure
from plait.training.rank_trainer import Assignment, train_on_rank
from tests.training.runs import MACHINE, forked, tiny


def stopped_in_step_3(assignment: Assignment) -> RankMeasure:
    """As `train_on_rank`, without shared memory; rank 1 is stopped in its third step, when the others need it."""
    os.environ["PLAIT_SHARED_MEMORY"] = "0"
    taken, calls = ParallelModel.forward_backward, []

    def forward_backward(*given: Any, **more: Any) -> Any:
        calls.append(1)
        if os.environ["RANK"] == "1" and len(calls) == 3:
            (assignment.weights.parent / "stopped").write_text(str(time.monotonic()))
            os.kill(os.getpid(), signal.SIGSTOP)
        return taken(*given, **more)

    ParallelModel.forward_backward = forward_backward  # type: ignore[method-assign]
    return train_on_rank(assignment)


@pytest.mark.parametrize("axis", ["data", "pipeline"])
def test_over_gloo_too_all_end_within_ten_seconds_and_the_stopped_rank_is_named(
    tmp_path: Path, rank_pools: Any, axis: str
) -> None:
    job, plan = tiny(tmp_path, training={"steps": 50, "validate_every": 50}, cluster={"ranks": 2}, plan={axis: 2})
    with forked(rank_pools, tmp_path) as patch:
        patch.setattr("plait.training.trainer.train_on_rank", stopped_in_step_3)
        with pytest.raises(RankFailure) as caught:
            api.train(job, plan, run=tmp_path / "run", measurements=MACHINE)
    assert time.monotonic() - float((tmp_path / "run" / "stopped").read_text()) < 10
    assert caught.value.rank == 1
    assert "its process has been stopped for " in caught.value.report

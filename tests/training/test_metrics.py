"""Numbers on disk as they come: a line a step, TensorBoard's scalars, and a full disk in words."""

from __future__ import annotations

from math import nan
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

from plait.errors import UnusableInput
from plait.training.metrics import Metrics
from plait.training.run_directory import RunDirectory
from tests.training.runs import strict


def step(number: int, loss: float = 2.0, *, validation_follows: bool = False) -> dict[str, object]:
    return {"event": "step", "step": number, "loss": loss, "norm": None, "tokens": 64, "seconds": 0.5,
            "validation_follows": validation_follows}  # fmt: skip


def validation(number: int, loss: float) -> dict[str, object]:
    return {"event": "validation", "step": number, "loss": loss, "bytes_per_token": 1.0}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run")


def lines(run: RunDirectory) -> list[dict[str, object]]:
    return [strict(line) for line in run.metrics.read_text().splitlines()]


def test_one_line_a_step(run: RunDirectory) -> None:
    with Metrics(run, 0.25) as metrics:
        for event in (validation(0, 5.0), step(1, 4.0), step(2, 3.0, validation_follows=True), validation(2, 3.5)):
            metrics.take(event)
    first = {"step": 1, "loss": 4.0, "tokens": 64, "seconds": 0.5, "norm": None, "predicted_seconds": 0.25}
    assert lines(run) == [first, first | {"step": 2, "loss": 3.0, "validation_loss": 3.5}]
    assert metrics.validations == [(0, 5.0), (2, 3.5)]


def test_a_line_is_on_disk_as_soon_as_all_that_it_holds_is_known(run: RunDirectory) -> None:
    with Metrics(run, 0.25) as metrics:
        metrics.take(step(1))
        assert [line["step"] for line in lines(run)] == [1]
        metrics.take(step(2, validation_follows=True))
        assert [line["step"] for line in lines(run)] == [1]
        metrics.take(validation(2, 3.5))
        assert [line["step"] for line in lines(run)] == [1, 2]


def die_after_a_step(run: RunDirectory) -> None:
    with Metrics(run, 0.25) as metrics:
        metrics.take(step(1, validation_follows=True))
        raise ZeroDivisionError


def test_what_was_known_is_told_when_a_run_dies(run: RunDirectory) -> None:
    with pytest.raises(ZeroDivisionError):
        die_after_a_step(run)
    assert [line["step"] for line in lines(run)] == [1]


def test_a_loss_that_is_no_number_is_null(run: RunDirectory) -> None:
    with Metrics(run, 0.25) as metrics:
        metrics.take(step(1, nan, validation_follows=True))
        metrics.take(validation(1, nan))
    assert lines(run)[0]["loss"] is lines(run)[0]["validation_loss"] is None


def test_tensorboard_reads_it(run: RunDirectory) -> None:
    with Metrics(run, 0.25) as metrics:
        for event in (validation(0, 5.0), step(1, 4.0), step(2, 3.0)):
            metrics.take(event)
        board = EventAccumulator(str(run.tensorboard))
        board.Reload()  # while the run goes on
    told = {tag: [(one.step, one.value) for one in board.Scalars(tag)] for tag in board.Tags()["scalars"]}
    assert told == {
        "validation_loss": [(0, 5.0)], "loss": [(1, 4.0), (2, 3.0)], "tokens_per_second": [(1, 128.0), (2, 128.0)],
    }  # fmt: skip


def test_a_full_disk_is_told_with_the_file(run: RunDirectory) -> None:
    run.metrics.symlink_to("/dev/full")
    metrics = Metrics(run, 0.25)
    metrics.take(step(1, validation_follows=True))
    with pytest.raises(UnusableInput, match=r"metrics\.jsonl: can't be written: No space left"), metrics:
        pass


def test_a_full_disk_does_not_hide_what_came_first(run: RunDirectory) -> None:
    run.metrics.symlink_to("/dev/full")
    with pytest.raises(ZeroDivisionError):
        die_after_a_step(run)


def test_a_board_that_can_t_be_opened(run: RunDirectory) -> None:
    run.tensorboard.write_text("in the way")
    with pytest.raises(UnusableInput, match=r"tensorboard.*can't be written"):
        Metrics(run, 1)
    assert not run.metrics.exists()


def test_lines_that_can_t_be_opened_leave_no_board_open(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    boards: list[RecordWriter] = []

    def opened(file: object) -> RecordWriter:
        boards.append(RecordWriter(file))
        return boards[-1]

    monkeypatch.setattr("plait.training.metrics.RecordWriter", opened)
    run.metrics.mkdir()
    with pytest.raises(UnusableInput, match=r"metrics\.jsonl: can't be written"):
        Metrics(run, 1)
    assert [board.closed for board in boards] == [True]


def test_a_board_that_takes_nothing_leaves_nothing_open(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plait.training.metrics.time.time", lambda: 0.0)
    run.tensorboard.mkdir()
    (run.tensorboard / "events.out.tfevents.0000000000.plait").symlink_to("/dev/full")
    with pytest.raises(UnusableInput, match=r"tfevents.*can't be written: No space left"):
        Metrics(run, 1)

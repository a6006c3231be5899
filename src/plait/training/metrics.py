"""Where the numbers of a run go, as they come: `metrics.jsonl`, one line a step, and an event file for TensorBoard.

A step's line is on disk as soon as the step is told, or, where a validation follows, with the validation's loss: a run
that dies has told all it knew.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from types import TracebackType
from typing import Any, Self

from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]  # made at run time
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]  # likewise
from tensorboard.summary.writer.record_writer import RecordWriter

from plait.errors import UnusableInput
from plait.specs.documents import finite
from plait.training.run_directory import RunDirectory, written

__all__ = ["Metrics"]

_VERSION = "brain.Event:2"  # how every event file begins


class Metrics:
    """Writes the metrics of one run; a context manager. Raises UnusableInput where the disk takes no more.

    `validations` are those so far: (step, loss).
    """

    def __init__(self, run: RunDirectory, predicted_seconds: float) -> None:
        self.validations: list[tuple[int, float]] = []
        self._predicted_seconds = predicted_seconds
        self._pending: dict[str, Any] | None = None  # a step whose validation is still to come
        self._lines_path = run.metrics
        self._board_path = run.tensorboard / f"events.out.tfevents.{int(time.time()):010d}.plait"
        with written(self._board_path) as board, ExitStack() as opened:
            board.parent.mkdir(exist_ok=True)
            self._board = opened.enter_context(closing(RecordWriter(board.open("wb"))))
            with written(self._lines_path) as lines:
                self._lines = opened.enter_context(lines.open("w", encoding="utf-8"))
            self._record(Event(wall_time=time.time(), file_version=_VERSION))
            opened.pop_all()  # now it is for __exit__ to close them

    def take(self, event: Mapping[str, Any]) -> None:
        """One event of the reporting rank: a step, or a validation of the state after it."""
        if event["event"] == "step":
            self._pending = {key: event[key] for key in ("step", "loss", "tokens", "seconds", "norm")}
            self._pending["predicted_seconds"] = self._predicted_seconds
            self._scalars(event["step"], loss=event["loss"], tokens_per_second=event["tokens"] / event["seconds"])
            if not event["validation_follows"]:
                self._flush()
        else:
            self.validations.append((event["step"], event["loss"]))
            self._scalars(event["step"], validation_loss=event["loss"])
            if self._pending is not None:
                self._pending["validation_loss"] = event["loss"]
                self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with written(self._board_path), closing(self._board), written(self._lines_path), self._lines:
                self._flush()
        except UnusableInput:
            if error is None:  # else the run ends with that one, which came first
                raise

    def _flush(self) -> None:
        if self._pending is None:
            return
        line, self._pending = json.dumps(finite(self._pending), allow_nan=False), None
        with written(self._lines_path):
            self._lines.write(line + "\n")
            self._lines.flush()

    def _scalars(self, step: int, **values: float) -> None:
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
        self._record(Event(step=step, wall_time=time.time(), summary=summary))

    def _record(self, event: Any) -> None:
        with written(self._board_path):
            self._board.write(event.SerializeToString())
            self._board.flush()

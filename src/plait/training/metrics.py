"""Where the numbers of a run go, as they come: `metrics.jsonl`, one line a step, and TensorBoard's event files.

A line is on disk before the next step ends, so that a run that dies has told all it knew.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]  # made at run time
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]  # likewise
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from plait.errors import UnusableInput
from plait.training.run_directory import RunDirectory, finite

__all__ = ["Metrics"]


class Metrics:
    """Writes the metrics of one run; a context manager. Raises UnusableInput where the disk takes no more."""

    def __init__(self, run: RunDirectory, predicted_seconds: float) -> None:
        self._run, self._predicted_seconds = run, predicted_seconds
        self._pending: dict[str, Any] | None = None
        self._lines = run.metrics.open("w", encoding="utf-8")
        self._board = EventFileWriter(str(run.tensorboard))
        self.validations: list[tuple[int, float]] = []

    def take(self, event: Mapping[str, Any]) -> None:
        """One event of the reporting rank: a step, or a validation of the state after it."""
        if event["event"] == "step":
            self._flush()
            self._pending = {key: event[key] for key in ("step", "loss", "tokens", "seconds", "norm")}
            self._pending["predicted_seconds"] = self._predicted_seconds
            self._scalar("loss", event["step"], event["loss"])
            self._scalar("tokens_per_second", event["step"], event["tokens"] / event["seconds"])
        else:
            self.validations.append((event["step"], event["loss"]))
            self._scalar("validation_loss", event["step"], event["loss"])
            if self._pending is not None:
                self._pending["validation_loss"] = event["loss"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flush()
        self._lines.close()
        self._board.close()

    def _flush(self) -> None:
        if self._pending is None:
            return
        try:
            self._lines.write(json.dumps(finite(self._pending), allow_nan=False) + "\n")
            self._lines.flush()
        except OSError as error:
            raise UnusableInput(f"{self._run.metrics}: can't be written: {error.strerror or error}") from error
        finally:
            self._pending = None

    def _scalar(self, name: str, step: int, value: float) -> None:
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
        self._board.add_event(Event(step=step, wall_time=time.time(), summary=summary))

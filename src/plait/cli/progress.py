"""What a training run shows while it runs: one bar on a terminal, a line now and then elsewhere; always on stderr.

━━━━━━━━━━━━━━━━━╸━━━━━━  260/400  loss 3.412  held out 3.514  10,240 tokens/s  step 201 ms (predicted 195 ms)
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from plait.training.measures import typical
from plait.units import Seconds

__all__ = ["TrainingProgress"]

_LINES = 20  # where there is no terminal: about so many lines in a run
_RECENT = 20  # steps whose typical time is shown; a whole period, where replicas meet less often
_WIDE = 125  # columns that bar, numbers and the time that remains need; a narrower terminal shows the numbers alone


class TrainingProgress:
    """Takes the events of a run and shows them; a context manager."""

    def __init__(self) -> None:
        console = Console(file=sys.stderr)
        self._drawn = console.is_terminal and not console.is_dumb_terminal
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._held_out = ""
        columns = (MofNCompleteColumn(), TextColumn("{task.fields[told]}"))
        if console.width >= _WIDE:
            columns = (BarColumn(bar_width=24), *columns, TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, disable=not self._drawn)
        self._task = self._bar.add_task("training", total=None, told="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def take(self, event: Mapping[str, Any]) -> None:
        """Show one event: a step, or a validation of the state after it."""
        if event["event"] == "validation":
            self._held_out = f"held out {event['loss']:.3f}  "
            self._say(f"after step {event['step']}: held-out loss {event['loss']:.4f} nats a token")
            return
        if event["period"] > _RECENT:
            self._recent = deque(self._recent, maxlen=event["period"])
        self._recent.append(event["seconds"])
        told = self._told(event)
        self._bar.update(self._task, completed=event["step"], total=event["steps"], told=told)
        if event["step"] % max(1, event["steps"] // _LINES) == 0:
            self._say(f"step {event['step']}/{event['steps']}  {told}")

    def _told(self, event: Mapping[str, Any]) -> str:
        seconds = typical([*self._recent], event["period"])
        rate = event["tokens"] / seconds
        timing = f"step {Seconds(seconds)} (predicted {Seconds(event['predicted_seconds'])})"
        return f"loss {event['loss']:.3f}  {self._held_out}{rate:,.0f} tokens/s  {timing}"

    def _say(self, line: str) -> None:
        if not self._drawn:
            print(line, file=sys.stderr, flush=True)

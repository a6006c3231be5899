"""Counts what is really sent: axis, kind, bytes, for every message that leaves through this room; and the time that
this process stood blocked for each axis: the *exposed* communication.

The planner predicts the same rows (`plans.prediction.Traffic`) and they have to be equal. Bytes are those of the whole
tensor that the group works on: what an all-reduce sums, what an all-gather leaves, what a reduce-scatter starts from.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

from plait.plans.prediction import Traffic
from plait.sharding.redistribute import CollectiveKind

__all__ = ["Recorder", "blocked", "note", "record"]


@dataclass(kw_only=True, eq=False)
class Recorder:
    """The messages of one process since `record` was entered."""

    messages: Counter[tuple[str, CollectiveKind, int]] = field(default_factory=Counter[tuple[str, CollectiveKind, int]])
    blocked_seconds: dict[str, float] = field(default_factory=lambda: defaultdict[str, float](float))

    def traffic(self) -> tuple[Traffic, ...]:
        """The rows, sorted, as the planner states them."""
        return tuple(
            Traffic(axis=axis, kind=kind, bytes=size, count=count)
            for (axis, kind, size), count in sorted(self.messages.items())
        )


_listening: list[Recorder] = []


def note(axis: str, kind: CollectiveKind, size: int) -> None:
    """Tell every listening recorder of one message of `size` bytes."""
    for recorder in _listening:
        recorder.messages[axis, kind, size] += 1


@contextmanager
def blocked(axis: str) -> Iterator[None]:
    """Account the time inside the `with` block as waiting for `axis`."""
    start = perf_counter()
    try:
        yield
    finally:
        seconds = perf_counter() - start
        for recorder in _listening:
            recorder.blocked_seconds[axis] += seconds


@contextmanager
def record() -> Iterator[Recorder]:
    """Listen to this process's messages for the length of a `with` block."""
    recorder = Recorder()
    _listening.append(recorder)
    try:
        yield recorder
    finally:
        _listening.remove(recorder)

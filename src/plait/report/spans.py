"""What a rank was busy with, from when to when: the schedule's actions and, beside them, sums and the optimizer.

    Timed(0F0, 0.0, 0.1)            Span(forward, 0.0, 0.1, microbatch 0)
    Timed(0SEND_F0, 0.1, 0.12)  ->  Span(pipeline, 0.1, 0.12, microbatch 0)
    ("data", 0.5, 0.6)              Span(data, 0.5, 0.6)

A lane is one rank's spans by start. It knows kinds and seconds, not how they are drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from plait.errors import UnusableInput
from plait.report.palette import AXES
from plait.schedules.action import Action, Kind
from plait.schedules.timeline import Timed

__all__ = ["Lane", "Span", "busy_seconds", "end_of", "lane_from_rows", "lane_from_timed", "rows_from_timed"]

_MEANING = {Kind.F: "forward", Kind.B: "backward", Kind.I: "backward", Kind.W: "weight-gradients"}  # others: transfers
_BESIDE = (*AXES, "optimizer")  # what a lane may hold that is no action


@dataclass(frozen=True, kw_only=True)
class Span:
    """Seconds of one rank. `kind` is a meaning of the palette, `name` what a person would call it, `0F2` or `data`."""

    kind: str
    name: str
    start: float
    end: float
    microbatch: int | None = None


Lane = tuple[Span, ...]


def lane_from_timed(timed: Iterable[Timed]) -> Lane:
    """One rank of a `Timeline`, or what was measured of it, as a lane."""
    return _ordered(_of_action(action, start, end) for action, start, end in timed)


def rows_from_timed(timed: Iterable[Timed]) -> list[list[Any]]:
    """One rank as rows [name, start, end], ready for JSON; `lane_from_rows` reads them."""
    return [[str(action), start, end] for action, start, end in timed]


def lane_from_rows(rows: Sequence[Any]) -> Lane:
    """One rank from rows [name, start, end]: an action as `0F2`, an axis for its messages, or `optimizer`.

    Raises UnusableInput for any other name, and for seconds that are none.
    """
    return _ordered(_of_row(row) for row in rows)


def end_of(lanes: Iterable[Lane]) -> float:
    """When the last span of all lanes ends."""
    return max((span.end for lane in lanes for span in lane), default=0.0)


def busy_seconds(lane: Lane) -> float:
    """Seconds in which at least one span runs; what runs side by side counts once."""
    busy, reached = 0.0, 0.0
    for span in lane:
        busy += max(0.0, span.end - max(span.start, reached))
        reached = max(reached, span.end)
    return busy


def _of_row(row: Any) -> Span:
    try:
        name, start, end = str(row[0]), float(row[1]), float(row[2])
    except (TypeError, ValueError, LookupError) as error:
        raise UnusableInput(f"{row!r} is no row of a timeline: it reads [name, start, end]") from error
    if not (isfinite(end) and 0 <= start <= end):
        raise UnusableInput(f"{name} can't run from {start} to {end} seconds")
    if name in _BESIDE:
        return Span(kind=name, name=name, start=start, end=end)
    return _of_action(Action.parse(name), start, end)


def _of_action(action: Action, start: float, end: float) -> Span:
    kind = _MEANING.get(action.kind, "pipeline")
    return Span(kind=kind, name=str(action), start=start, end=end, microbatch=action.microbatch)


def _ordered(spans: Iterable[Span]) -> Lane:
    return tuple(sorted(spans, key=lambda span: (span.start, span.end)))

"""What a rank was busy with, from when to when: the schedule's actions and, beside them, sums and the optimizer.

    ["0F0", 0.0, 0.1]            Span(forward, 0.0, 0.1, microbatch 0)
    ["0SEND_F0", 0.1, 0.12]  ->  Span(pipeline, 0.1, 0.12, microbatch 0)
    ["data", 0.5, 0.6]           Span(data, 0.5, 0.6)

A lane is one rank's spans by start. It knows kinds and seconds, not how they are drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from plait.errors import UnusableInput
from plait.plans.prediction import Terms
from plait.schedules.action import SENDS, Action, Kind
from plait.sharding.mesh_shape import AXES

__all__ = [
    "Lane",
    "Span",
    "busy_seconds",
    "end_of",
    "lane_from_rows",
    "with_tail",
    "without_waiting",
]

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


def without_waiting(lanes: Sequence[Lane]) -> tuple[Lane, ...]:
    """Measured lanes with every transfer cut to its moving: from when both ends were there until it was received.

        sender    SEND_F ─┤                       what a rank measures of a transfer is mostly waiting
        receiver  RECV_F ├──waiting──┤─moving─┤

    All lanes are of one clock. A transfer whose other end is in no lane stays as it is.
    """
    ends = {span.name: span for lane in lanes for span in lane}
    return tuple(_ordered(_moving(span, ends) for span in lane) for lane in lanes)


def _moving(span: Span, ends: Mapping[str, Span]) -> Span:
    if span.kind != "pipeline" or span.microbatch is None:
        return span
    action = Action.parse(span.name)
    other = ends.get(str(action.counterpart))
    if other is None:
        return span
    received = other if action.kind in SENDS else span
    start = max(span.start, other.start)
    return replace(span, start=start, end=max(start, received.end))


def with_tail(lanes: Sequence[Lane], terms: Terms) -> tuple[Lane, ...]:
    """Lanes that hold the schedule alone, with the terms that follow it: what is exposed of the sums over data from
    each lane's own end on; then, when all have ended, those over the pipeline, and the optimizer. Lanes that hold sums
    or the optimizer stay as they are."""
    if not end_of(lanes) > 0 or any(span.kind in ("data", "optimizer") for lane in lanes for span in lane):
        return tuple(lanes)
    last = end_of(lanes)
    return tuple((*lane, *_tail(end_of([lane]), last, terms)) for lane in lanes)


def _tail(end: float, last: float, terms: Terms) -> Iterator[Span]:
    """What follows one lane; a term that is nothing, or no number, is none."""
    lasts = {kind: terms.exposed.get(kind, 0.0) for kind in ("data", "pipeline")}
    lasts = {kind: amount for kind, amount in {**lasts, "optimizer": terms.optimizer}.items() if amount > 0}
    for kind, amount in lasts.items():
        start = end if kind == "data" else last
        yield Span(kind=kind, name=kind, start=start, end=start + amount)
        last += amount


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

"""Where transfers stand in programs of ranks that have several stages, or their backward in two parts: by a clock.

Just before it is needed, and right after it is made (`schedule_from_orders`), is too simple there: a rank that waits
for its neighbour to take a value may be the one for which the neighbour waits. So the orders of computations are first
played with F, I and W as one unit and B as two, transfers for nothing. A value's time is the moment when it is made;
its send and its receive stand between the computations around that moment, and what falls between the same two is one
fused step.

    time          0    1    2    3    4    5           rank 0 makes 0F1 at 2, while rank 1 computes 1F0 until 2:
    rank 0        0F0  0F1            …                    SEND_F1 stands after 0F1, RECV_F1 after 1F0,
    rank 1             1F0  2F0  1F1  …                    though 1F1 comes only after 2F0

It can't deadlock: whoever stands still waits for a value whose time is earlier than all that stand behind it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from plait.errors import IllegalSchedule
from plait.schedules.action import Action, Kind, Step
from plait.schedules.deadlock import explain_orders
from plait.schedules.dependencies import needs
from plait.schedules.schedule import Schedule

__all__ = ["Orders", "clocked_schedule"]

Orders = Sequence[Sequence[Action]]  # by rank, its computations

_UNITS = {Kind.F: 1, Kind.I: 1, Kind.W: 1, Kind.B: 2}
_SENT = {Kind.F: Kind.SEND_F, Kind.I: Kind.SEND_B, Kind.B: Kind.SEND_B}


class _Span(NamedTuple):
    start: int
    end: int


def clocked_schedule(kind: str, microbatches: int, orders: Orders, stage_rank: Sequence[int]) -> Schedule:
    """The schedule in which rank r computes in the order `orders[r]`. Raises IllegalSchedule, with the cycle of waits,
    where no clock can play the orders."""
    placed = tuple(stage_rank)
    spans = _played(orders, placed)
    between: list[list[list[tuple[int, Action]]]] = [[[] for _ in range(len(order) + 1)] for order in orders]
    starts = [[spans[action].start for action in order] for order in orders]
    for action, span in spans.items():
        if action.kind not in _SENT:
            continue
        send = Action(action.stage, _SENT[action.kind], action.microbatch)
        if 0 <= send.peer < len(placed) and placed[send.peer] != placed[action.stage]:
            for end in (send, send.counterpart):
                rank = placed[end.stage]
                between[rank][bisect_left(starts[rank], span.end)].append((span.end, end))
    programs = tuple(tuple(_program(*parts)) for parts in zip(orders, between, strict=True))
    return Schedule(kind=kind, stages=len(placed), microbatches=microbatches, stage_rank=placed, programs=programs)


def _program(order: Sequence[Action], between: Sequence[Sequence[tuple[int, Action]]]) -> Iterator[Step]:
    """Transfers in the order of their times: both ends then list what passes between them alike."""
    for action, before in zip((*order, None), between, strict=True):
        if before:
            yield tuple(one for _, one in sorted(before, key=lambda timed: timed[0]))
        if action is not None:
            yield (action,)


def _played(orders: Orders, stage_rank: Sequence[int]) -> Mapping[Action, _Span]:
    """When each computation happens, at the earliest."""
    spans: dict[Action, _Span] = {}
    reached, free = [0] * len(orders), [0] * len(orders)
    moved = True
    while moved:
        moved = False
        for rank, order in enumerate(orders):
            while reached[rank] < len(order):
                action = order[reached[rank]]
                begin = _ready(action, spans, len(stage_rank))
                if begin is None:
                    break
                start = max(free[rank], begin)
                free[rank] = start + _UNITS[action.kind]
                spans[action] = _Span(start, free[rank])
                reached[rank] += 1
                moved = True
    if any(place < len(order) for place, order in zip(reached, orders, strict=True)):
        raise IllegalSchedule(explain_orders(orders, reached, stage_rank))
    return spans


def _ready(action: Action, spans: Mapping[Action, _Span], stages: int) -> int | None:
    """When all that it needs is there; None where something is not yet."""
    ready = 0
    for options in needs(action, stages):
        ends = [spans[one].end for one in options if one in spans]
        if not ends:
            return None
        ready = max(ready, *ends)
    return ready

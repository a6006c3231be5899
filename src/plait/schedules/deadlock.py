"""Why a schedule stands still: the cycle of waits, drawn.

Under rendezvous a rank that offers a transfer goes no further until the other end is offered too. When no rank can
move, each waits for an action that a standing rank has yet to reach, so following the waits closes a cycle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from plait.schedules.action import Action
from plait.schedules.dependencies import needs
from plait.schedules.schedule import Schedule

__all__ = ["explain_deadlock", "explain_orders"]

_Waits = Mapping[int, tuple[Action, Action]]  # by rank that stands: what it is at, and what it waits for
_Places = Mapping[Action, tuple[int, int]]  # the rank of each action, and its step there, from 1


def explain_deadlock(schedule: Schedule, offered: Iterable[Action]) -> str:
    """The message for a schedule in which the transfers `offered` (at least one) wait and no rank can go on."""
    places = _places(schedule.programs)
    waits: dict[int, tuple[Action, Action]] = {}
    for action in offered:
        waits.setdefault(schedule.stage_rank[action.stage], (action, action.counterpart))
    remedy = "let each of its ranks offer its send and its receive in one fused step"
    said = "deadlock: a send waits for its receive, nothing is buffered"
    return _drawn(said, waits, places, [len(program) for program in schedule.programs], remedy)


def explain_orders(orders: Sequence[Sequence[Action]], reached: Sequence[int], stage_rank: Sequence[int]) -> str:
    """The message for orders of computations of which each rank has performed `reached`, and none can go on."""
    places = _places([[action] for action in order] for order in orders)
    done = {action for order, count in zip(orders, reached, strict=True) for action in order[:count]}
    waits: dict[int, tuple[Action, Action]] = {}
    for rank, (order, count) in enumerate(zip(orders, reached, strict=True)):
        if count < len(order):
            missing = [some for some in needs(order[count], len(stage_rank)) if not done.intersection(some)]
            known = [one for some in missing for one in some if one in places]
            waits[rank] = (order[count], known[0] if known else missing[0][0])
    remedy = "let one of its ranks perform first what another waits for"
    return _drawn("deadlock: each waits for what another performs later", waits, places, list(map(len, orders)), remedy)


def _places(programs: Iterable[Iterable[Iterable[Action]]]) -> _Places:
    return {
        action: (rank, number)
        for rank, program in enumerate(programs)
        for number, step in enumerate(program, 1)
        for action in step
    }


def _drawn(said: str, waits: _Waits, places: _Places, lengths: Sequence[int], remedy: str) -> str:
    chain = _follow(waits, places)
    lines = [_wait(*waits[rank], places, lengths) for rank in chain]
    if waits[chain[-1]][1] in places:  # a cycle, not a chain that ends at nobody
        edges = ["┌─> "] + ["│   "] * (len(lines) - 1)
        lines = [edge + line for edge, line in zip(edges, lines, strict=True)]
        lines += [f"└──── the cycle closes; {remedy}"]
    return "\n    ".join([said, *lines])


def _follow(waits: _Waits, places: _Places) -> list[int]:
    """The ranks that wait, from any of them on, until they come round (then the cycle alone) or one waits for what no
    rank performs."""
    rank, seen = next(iter(waits)), list[int]()
    while rank not in seen:
        seen.append(rank)
        awaited = waits[rank][1]
        if awaited not in places:
            return seen
        rank = places[awaited][0]
    return seen[seen.index(rank) :]


def _wait(action: Action, awaited: Action, places: _Places, lengths: Sequence[int]) -> str:
    rank, number = places[action]
    stands = f"rank {rank} at step {number} of {lengths[rank]}: {action} waits for {awaited}"
    if awaited not in places:
        return f"{stands}, which no rank performs"
    there, step = places[awaited]
    return f"{stands}, step {step} of rank {there}"

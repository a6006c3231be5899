"""Why a schedule stands still: the cycle of waits, drawn.

Under rendezvous a rank that offers a transfer goes no further until the other end is offered too. When no rank can
move, each waits for an action that a standing rank has yet to reach, so following the waits closes a cycle.
"""

from __future__ import annotations

from collections.abc import Iterable

from plait.schedules.action import Action
from plait.schedules.schedule import Schedule

__all__ = ["explain_deadlock"]


def explain_deadlock(schedule: Schedule, offered: Iterable[Action]) -> str:
    """The message for a schedule in which the transfers `offered` (at least one) wait and no rank can go on."""
    position = {action: i for program in schedule.programs for i, step in enumerate(program, 1) for action in step}
    waiting: dict[int, Action] = {}
    for action in offered:
        waiting.setdefault(schedule.stage_rank[action.stage], action)
    chain = _follow(schedule, waiting, position)
    lines = [_wait(schedule, action, position) for action in chain]
    if chain[-1].counterpart in position:  # a cycle, not a chain that ends at nobody
        edges = ["┌─> "] + ["│   "] * (len(lines) - 1)
        lines = [edge + line for edge, line in zip(edges, lines, strict=True)]
        lines += ["└──── the cycle closes; let each of its ranks offer its send and its receive in one fused step"]
    return "\n    ".join(["deadlock: a send waits for its receive, nothing is buffered", *lines])


def _follow(schedule: Schedule, waiting: dict[int, Action], position: dict[Action, int]) -> list[Action]:
    """The waits from any rank on, until they come round (then the cycle alone) or lead to what no rank performs."""
    rank, seen = next(iter(waiting)), list[int]()
    while rank not in seen:
        seen.append(rank)
        awaited = waiting[rank].counterpart
        if awaited not in position:
            return [waiting[rank] for rank in seen]
        rank = schedule.stage_rank[awaited.stage]
    return [waiting[rank] for rank in seen[seen.index(rank) :]]


def _wait(schedule: Schedule, action: Action, position: dict[Action, int]) -> str:
    rank, awaited = schedule.stage_rank[action.stage], action.counterpart
    stands = f"rank {rank} at step {position[action]} of {len(schedule.programs[rank])}: {action} waits for {awaited}"
    if awaited not in position:
        return f"{stands}, which no rank performs"
    return f"{stands}, step {position[awaited]} of rank {schedule.stage_rank[awaited.stage]}"

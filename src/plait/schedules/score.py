"""A schedule as a simulation reads it: its actions by number, each rank's program as turns of starting and waiting.

    program   F1   SEND_F1 + RECV_B0   B0
    turns     starts F1, until F1 is over │ starts SEND_F1 and RECV_B0, until RECV_B0 is over │ starts B0, …

Numbers ascend as actions do. A rank starts all actions of a step together and goes on when all have ended. Transfers
that go on by themselves hold a rank up less: a send only until the next transfers, and a receive is offered one
transfer early. It knows no second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from plait.schedules.action import COMPUTE, RECEIVES, SENDS, Action, Step
from plait.schedules.schedule import Schedule

__all__ = ["Score", "Turn", "score_of"]

Turn = tuple[tuple[int, ...], tuple[int, ...]]  # the actions that a rank starts, and those that end before it goes on


@dataclass(frozen=True, kw_only=True)
class Score:
    """`actions` in ascending order, and by their numbers: the rank of each, whether it `computes`, and of a transfer
    the `send` and the `receive`, itself where there is no other end. `turns`: by rank."""

    schedule: Schedule
    actions: tuple[Action, ...]
    rank: tuple[int, ...]
    computes: tuple[bool, ...]
    send: tuple[int, ...]
    receive: tuple[int, ...]
    turns: tuple[tuple[Turn, ...], ...]


def score_of(schedule: Schedule, ahead: Callable[[Action], bool] = lambda _: False, *, waits: bool = True) -> Score:
    """That of a schedule. `ahead`, asked of either end of a transfer: such receives are offered one transfer early, and
    such sends waited for by the next; `waits=False`: so are all sends."""
    actions = sorted({action for program in schedule.programs for step in program for action in step})
    number = {action: place for place, action in enumerate(actions)}
    others = [number.get(action.counterpart, place) for place, action in enumerate(actions)]

    def turn(started: Step, awaited: Step) -> Turn:
        first = tuple([number[action] for action in started])
        return first, first if awaited is started else tuple([number[action] for action in awaited])

    sends = [action.kind in SENDS for action in actions]
    return Score(
        schedule=schedule,
        actions=tuple(actions),
        rank=tuple(schedule.stage_rank[action.stage] for action in actions),
        computes=tuple(action.kind in COMPUTE for action in actions),
        send=tuple(n if sends[n] else other for n, other in enumerate(others)),
        receive=tuple(other if sends[n] else n for n, other in enumerate(others)),
        turns=tuple(
            tuple([turn(*one) for one in _turns(program, ahead, waits) if any(one)]) for program in schedule.programs
        ),
    )


def _turns(program: tuple[Step, ...], ahead: Callable[[Action], bool], waits: bool) -> Iterator[tuple[Step, Step]]:
    """What a rank starts, and what has to end before the next. What is received ahead is offered as soon as the
    transfers before it are over."""
    flagged = [(step, any(one.kind not in COMPUTE for one in step)) for step in program]  # whether it transfers any
    moving = [step for step, moves in flagged if moves]
    coming = iter([tuple([one for one in step if one.kind in RECEIVES and ahead(one)]) for step in moving])
    leaving: Step = ()
    expected = next(coming, ())
    started = expected
    for step, moves in flagged:
        if not moves:
            yield (*started, *step) if started else step, step
            started = ()
            continue
        yield started, leaving
        leaving = tuple([one for one in step if one.kind in SENDS and (not waits or ahead(one))])
        offered = tuple([action for action in step if action not in expected])
        yield offered, tuple([action for action in step if action not in leaving])
        expected = next(coming, ())
        started = expected
    yield started, leaving

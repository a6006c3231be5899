"""An event simulation of a score: when each of its actions begins and ends.

    start a turn ─┬─> computation: runs on the rank's cores ────────────────────────────┐
                  └─> transfer: waits until both ends are offered, then occupies both ──┴─> the awaited ended: next turn

A search plays thousands of schedules, so that this is written for speed: actions are numbers here, and times lie in
lists by these numbers. It does not know where its seconds come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf

from plait.errors import IllegalSchedule, PlaitError
from plait.schedules.deadlock import explain_deadlock
from plait.schedules.score import Score

__all__ = ["Performance", "perform"]

_NOT_YET = -1.0  # the end of what has not ended


@dataclass(frozen=True, kw_only=True)
class Performance:
    """When each action of a score began and ended, by number; `order`: the numbers of each rank's as they ended."""

    starts: Sequence[float]
    ends: Sequence[float]
    order: Sequence[Sequence[int]]


def perform(score: Score, seconds: Sequence[float], cores: float | None = None, demand: float = 1.0) -> Performance:
    """Play a score whose actions take so many `seconds` alone, by number; of a transfer those of its send count. With
    `cores`, the ranks share that many: each running computation demands `demand` of them, and where the sum exceeds
    `cores` all slow down in proportion (processor sharing). Raises IllegalSchedule (the cycle of waits) if the schedule
    deadlocks, PlaitError for impossible seconds."""
    if not all(0 <= one < inf for one in seconds):
        raise PlaitError(_impossible(score, seconds))
    performer = _Performer(score, seconds, cores, demand)
    performer.run()
    if performer.offered:
        waiting = [score.actions[number] for number in performer.offered.values()]
        raise IllegalSchedule(explain_deadlock(score.schedule, waiting))
    return Performance(starts=performer.starts, ends=performer.ends, order=performer.order)


def _impossible(score: Score, seconds: Sequence[float]) -> str:
    """The first action that can't take what it is said to, in the order of the programs."""
    taken = dict(zip(score.actions, seconds, strict=True))
    actions = (action for program in score.schedule.programs for step in program for action in step)
    first = next(action for action in actions if not 0 <= taken[action] < inf)
    return f"{first} can't take {taken[first]} seconds"


class _Performer:
    """The ranks, each at a turn of its program, with what they compute and what is between them.

    Computations advance at one pace: min(1, cores / (running · demand)). A common counter reads how much work each has
    done since the beginning, had it run throughout. A computation of s seconds that starts when the counter reads w
    ends when it reads w + s, whatever else starts or ends in between; so one heap serves. At pace 1 from the start, the
    counter is the clock itself, to the last bit.
    """

    def __init__(self, score: Score, seconds: Sequence[float], cores: float | None, demand: float) -> None:
        self._score, self._seconds = score, seconds
        shared = inf if cores is None else cores
        self._paces = [1.0, *(min(1.0, shared / (running * demand)) for running in range(1, score.at_once + 1))]
        self._now = 0.0
        self._pace: float = 1.0
        self._since: float = 0.0  # seconds at the last change of pace, when the counter read
        self._counter: float = 0.0
        self._running: list[tuple[float, int, float]] = []  # computations: (counter at the end, number, start)
        self._moving: list[tuple[float, int, float]] = []  # transfers under way: (end, send, start)
        self.offered: dict[int, int] = {}  # by the send of its transfer: the end that waits for the other
        self._turns = [iter(turns) for turns in score.turns]
        self._missing = [0] * len(score.turns)  # by rank: how many have to end before it goes on
        self._awaited = [False] * len(score.actions)
        self.starts = [0.0] * len(score.actions)
        self.ends = [_NOT_YET] * len(score.actions)
        self.order: list[list[int]] = [[] for _ in score.turns]

    def run(self) -> None:
        """To the end, or until all wait."""
        running, moving, receive = self._running, self._moving, self._score.receive
        for rank in range(len(self._turns)):
            self._go_on(rank)
        while running or moving:
            computed = self._since + (running[0][0] - self._counter) / self._pace if running else inf
            if moving and moving[0][0] <= computed:
                self._now, send, start = heappop(moving)
                self._end(send, start)
                self._end(receive[send], start)
            else:
                if computed > self._now:  # a change of pace may round the end to just before now
                    self._now = computed
                _, number, start = heappop(running)
                if running and self._paces[len(running)] != self._pace:
                    self._change_pace()
                self._end(number, start)

    def _end(self, number: int, start: float) -> None:
        rank = self._score.rank[number]
        self.starts[number], self.ends[number] = start, self._now
        self.order[rank].append(number)
        if self._awaited[number]:
            self._missing[rank] -= 1
            if not self._missing[rank]:
                self._go_on(rank)

    def _go_on(self, rank: int) -> None:
        """As far as the rank gets without anything ending."""
        computes, ends, now = self._score.computes, self.ends, self._now
        for started, awaited in self._turns[rank]:
            for number in started:
                if computes[number]:
                    counter = self._counter + (now - self._since) * self._pace
                    heappush(self._running, (counter + self._seconds[number], number, now))
                    if self._paces[len(self._running)] != self._pace:
                        self._change_pace()
                else:
                    self._offer(number)
            missing = 0
            for number in awaited:
                if ends[number] == _NOT_YET:
                    missing += 1
                    self._awaited[number] = True
            if missing:
                self._missing[rank] = missing
                return

    def _offer(self, number: int) -> None:
        send = self._score.send[number]
        if self.offered.setdefault(send, number) != number:
            del self.offered[send]
            heappush(self._moving, (self._now + self._seconds[send], send, self._now))

    def _change_pace(self) -> None:
        """After a computation started or ended; once none runs, the pace stays until the next one starts."""
        self._counter += (self._now - self._since) * self._pace
        self._since, self._pace = self._now, self._paces[len(self._running)]

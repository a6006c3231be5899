"""An event simulation of a score: when each of its actions begins and ends.

    start a turn ─┬─> computation: runs on the cores of its host ───────────────────────┐
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


def perform(
    score: Score,
    seconds: Sequence[float],
    cores: float | None = None,
    demand: float = 1.0,
    hosts: Sequence[int] | None = None,
) -> Performance:
    """Play a score whose actions take so many `seconds` alone, by number; of a transfer those of its send count. With
    `cores`, the ranks of a host share that many: each running computation demands `demand` of them, and where the sum
    exceeds `cores` all of that host slow down in proportion (processor sharing). `hosts`: where each rank stands, by
    numbers from 0; all on one where not said. Raises IllegalSchedule (the cycle of waits) if the schedule deadlocks,
    PlaitError for impossible seconds."""
    if not all(0 <= one < inf for one in seconds):
        raise PlaitError(_impossible(score, seconds))
    bearable = inf if cores is None else cores / demand
    performer = _Performer(score, seconds, bearable, hosts or [0] * len(score.turns))
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


class _Host:
    """Cores, and the computations that share them.

    They advance at one pace: min(1, as many as it bears at full pace / as many as run). A common counter reads how much
    work each has done since the beginning, had it run throughout. A computation of s seconds that starts when the
    counter reads w ends when it reads w + s, whatever else starts or ends in between; so one heap serves. At pace 1
    from the start, the counter is the clock itself, to the last bit.
    """

    __slots__ = ("bearable", "counter", "pace", "running", "since")

    def __init__(self, bearable: float) -> None:
        self.bearable = bearable
        self.pace: float = 1.0
        self.since: float = 0.0  # seconds at the last change of pace, when the counter read
        self.counter: float = 0.0
        self.running: list[tuple[float, int, float]] = []  # (counter at the end, number, start)

    def start(self, number: int, seconds: float, now: float) -> None:
        """Another computation begins."""
        heappush(self.running, (self.counter + (now - self.since) * self.pace + seconds, number, now))
        self._change_pace(now)

    def end(self, now: float) -> tuple[int, float]:
        """The next one is over: its number and start. Once none runs, the pace stays until another starts."""
        _, number, start = heappop(self.running)
        if self.running:
            self._change_pace(now)
        return number, start

    def _change_pace(self, now: float) -> None:
        pace = min(1.0, self.bearable / len(self.running))
        if pace != self.pace:
            self.counter += (now - self.since) * self.pace
            self.since, self.pace = now, pace


class _Performer:
    """The ranks, each at a turn of its program, with what they compute and what is between them."""

    def __init__(self, score: Score, seconds: Sequence[float], bearable: float, hosts: Sequence[int]) -> None:
        self._score, self._seconds = score, seconds
        self._hosts = [_Host(bearable) for _ in range(max(hosts, default=0) + 1)]
        self._host_of = [self._hosts[host] for host in hosts]  # by rank
        self._now = 0.0
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
        hosts, moving, receive = self._hosts, self._moving, self._score.receive
        for rank in range(len(self._turns)):
            self._go_on(rank)
        while True:
            computed, first = inf, hosts[0]
            for host in hosts:
                if host.running:
                    end = host.since + (host.running[0][0] - host.counter) / host.pace
                    if end < computed:
                        computed, first = end, host
            if moving and moving[0][0] <= computed:
                self._now, send, start = heappop(moving)
                self._end(send, start)
                self._end(receive[send], start)
            elif computed < inf:
                if computed > self._now:  # a change of pace may round the end to just before now
                    self._now = computed
                self._end(*first.end(self._now))
            else:
                return

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
        computes, ends, now, host = self._score.computes, self.ends, self._now, self._host_of[rank]
        for started, awaited in self._turns[rank]:
            for number in started:
                if computes[number]:
                    host.start(number, self._seconds[number], now)
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

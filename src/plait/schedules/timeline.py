"""When each action of a schedule happens: an event simulation of the very list that the executor performs.

    start a step ─┬─> computation: runs on the rank's cores ────────────────────────────┐
                  └─> transfer: waits until both ends are offered, then occupies both ──┴─> all have ended: next step

A rank starts all actions of a step together and goes on when all have ended. Transfers that go on by themselves
(`ahead`) hold a rank up less: a send only until the next transfers, and a receive is offered one transfer early.

    in place   F1  [SEND_F1 ~~~~ + RECV_B0 ~~~~]  B0
    ahead      F1  [SEND_F1 ~~~~ · · · · · · · ·  until the next
               RECV_B0 ~~~~~~~~~~~~~~]            B0

The seconds come from the caller; nothing here knows a model, a device or a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from typing import NamedTuple

from plait.errors import IllegalSchedule, PlaitError
from plait.schedules.action import COMPUTE, RECEIVES, SENDS, Action, Step
from plait.schedules.deadlock import explain_deadlock
from plait.schedules.schedule import Schedule

__all__ = ["Timed", "Timeline", "simulate"]


class Timed(NamedTuple):
    """An action and when it ran, in seconds. Of a transfer only the moving itself: waiting for the peer is a gap."""

    action: Action
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """What each rank of a pipeline did, or would do, when: `ranks[r]` holds rank r's actions by the time they end."""

    ranks: tuple[tuple[Timed, ...], ...]

    @property
    def step_seconds(self) -> float:
        """From the start to the end of the last action."""
        return max((timed[-1].end for timed in self.ranks if timed), default=0.0)

    @property
    def bubble_fraction(self) -> float:
        """The share of the ranks' time in which they do not compute; transfers count as bubble."""
        total = len(self.ranks) * self.step_seconds
        busy = sum(end - start for timed in self.ranks for action, start, end in timed if action.kind in COMPUTE)
        return (total - busy) / total if total else 0.0


def simulate(
    schedule: Schedule,
    compute_seconds: Callable[[Action], float],
    transfer_seconds: Callable[[Action], float],
    cores: float | None = None,
    demand: float = 1.0,
    *,
    ahead: Callable[[Action], bool] = lambda _: False,
    waits: bool = True,
) -> Timeline:
    """When each action of a legal schedule happens, given the seconds that a computation and a transfer take alone.

    `transfer_seconds` is asked once a transfer, of its send; the transfers of one step run side by side.
    With `cores`, the ranks share that many: each running computation demands `demand` of them, and where the sum
    exceeds `cores` all slow down in proportion (processor sharing). None gives each rank its own.
    `ahead`, asked of either end of a transfer: such receives are offered one transfer early, and such sends waited for
    by the next (`Wire.receives_ahead`). `waits=False`: so are all sends, as the executor's; a rank that waits for each
    in its place is the stricter assumption that a schedule is checked with.
    Raises IllegalSchedule (the cycle of waits) if the schedule deadlocks, PlaitError for impossible seconds or cores.
    """
    if demand <= 0 or (cores is not None and cores <= 0):
        raise PlaitError(f"cores and demand must be above 0; here cores = {cores}, demand = {demand}")
    machine = _Machine(schedule, compute_seconds, transfer_seconds, _Cores(cores, demand), ahead, waits)
    return Timeline(ranks=machine.run())


class _Cores:
    """The computations in progress, which all advance at one pace: min(1, cores / (running · demand)).

    A common counter reads how much work each has done since the beginning, had it run throughout. A computation of s
    seconds that starts when the counter reads w ends when it reads w + s, whatever else starts or ends in between; so
    one heap serves. At pace 1 from the start, the counter is the clock itself, to the last bit.
    """

    def __init__(self, cores: float | None, demand: float) -> None:
        self._cores, self._demand = cores, demand
        self._pace: float = 1.0
        self._since: float = 0.0  # seconds at the last change of pace, when the counter read
        self._counter: float = 0.0
        self._running: list[tuple[float, Action, float]] = []  # (counter at the end, action, start)

    def start(self, action: Action, seconds: float, now: float) -> None:
        counter = self._counter + (now - self._since) * self._pace
        heappush(self._running, (counter + seconds, action, now))
        self._set_pace(now)

    def next_end(self) -> float:
        """Seconds, if nothing starts before; inf when nothing runs."""
        if not self._running:
            return inf
        return self._since + (self._running[0][0] - self._counter) / self._pace

    def finish(self, now: float) -> tuple[Action, float]:
        """The action that ends `now`, and when it started."""
        _, action, start = heappop(self._running)
        self._set_pace(now)
        return action, start

    def _set_pace(self, now: float) -> None:
        if self._cores is None or not self._running:
            return
        pace = min(1.0, self._cores / (len(self._running) * self._demand))
        if pace != self._pace:
            self._counter += (now - self._since) * self._pace
            self._since, self._pace = now, pace


class _Machine:
    """The ranks, each at a step of its program, with what they compute and what is between them."""

    def __init__(
        self,
        schedule: Schedule,
        compute_seconds: Callable[[Action], float],
        transfer_seconds: Callable[[Action], float],
        cores: _Cores,
        ahead: Callable[[Action], bool],
        waits: bool,
    ) -> None:
        self._schedule, self._cores = schedule, cores
        self._compute_seconds, self._transfer_seconds = compute_seconds, transfer_seconds
        self._now, self._ahead, self._waits = 0.0, ahead, waits
        self._performances = [self._perform(program) for program in schedule.programs]
        self._ended: set[Action] = set()
        self._awaited: list[Step] = [()] * schedule.ranks  # by rank: what has to end before it goes on
        self._timed: list[list[Timed]] = [[] for _ in range(schedule.ranks)]
        self._offered: dict[Action, Action] = {}  # by the send of its transfer: the end that waits for the other
        self._moving: list[tuple[float, Action, float]] = []  # transfers under way: (end, send, start)

    def run(self) -> tuple[tuple[Timed, ...], ...]:
        for rank in range(self._schedule.ranks):
            self._go_on(rank)
        while (computed := self._cores.next_end()) < inf or self._moving:
            if self._moving and self._moving[0][0] <= computed:
                self._now, send, start = heappop(self._moving)
                self._end(send, start)
                self._end(send.counterpart, start)
            else:
                self._now = max(self._now, computed)  # a change of pace may round the end to just before now
                self._end(*self._cores.finish(self._now))
        if self._offered:
            raise IllegalSchedule(explain_deadlock(self._schedule, self._offered.values()))
        return tuple(map(tuple, self._timed))

    def _perform(self, program: Iterable[Step]) -> Iterator[Step]:
        """Starts one step after another; each time what has to end before the next. What is received ahead is offered
        as soon as the transfers before it are over."""
        coming = iter([self._expected(step) for step in program if _moves(step)])
        leaving: Step = ()
        self._start(next(coming, ()))
        for step in program:
            if not _moves(step):
                self._start(step)
                yield step
                continue
            yield leaving
            expected = self._expected(step)
            leaving = tuple(one for one in step if one.kind in SENDS and (not self._waits or self._ahead(one)))
            self._start(tuple(action for action in step if action not in expected))
            yield tuple(action for action in step if action not in leaving)
            self._start(next(coming, ()))
        yield leaving

    def _expected(self, step: Step) -> Step:
        return tuple(action for action in step if action.kind in RECEIVES and self._ahead(action))

    def _start(self, actions: Step) -> None:
        for action in actions:
            if action.kind in COMPUTE:
                self._cores.start(action, _checked(self._compute_seconds, action), self._now)
            else:
                self._offer(action)

    def _go_on(self, rank: int) -> None:
        """As far as the rank gets without anything ending."""
        for awaited in self._performances[rank]:
            if any(action not in self._ended for action in awaited):
                self._awaited[rank] = awaited
                return

    def _offer(self, action: Action) -> None:
        send = action if action.kind in SENDS else action.counterpart
        if self._offered.get(send, action) == action:
            self._offered[send] = action
            return
        del self._offered[send]
        heappush(self._moving, (self._now + _checked(self._transfer_seconds, send), send, self._now))

    def _end(self, action: Action, start: float) -> None:
        rank = self._schedule.stage_rank[action.stage]
        self._timed[rank].append(Timed(action, start, self._now))
        self._ended.add(action)
        if action in self._awaited[rank] and self._ended.issuperset(self._awaited[rank]):
            self._go_on(rank)


def _moves(step: Step) -> bool:
    """Whether a step transfers anything."""
    return any(action.kind not in COMPUTE for action in step)


def _checked(seconds_of: Callable[[Action], float], action: Action) -> float:
    seconds = seconds_of(action)
    if not 0 <= seconds < inf:
        raise PlaitError(f"{action} can't take {seconds} seconds")
    return seconds

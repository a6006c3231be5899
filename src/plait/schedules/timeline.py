"""When each action of a schedule happens: an event simulation of the very list that the executor performs.

    start a step ─┬─> computation: runs on the cores of its host ───────────────────────┐
                  └─> transfer: waits until both ends are offered, then occupies both ──┴─> all have ended: next step

A rank starts all actions of a step together and goes on when all have ended. Transfers that go on by themselves
(`ahead`) hold a rank up less: a send only until the next transfers, and a receive is offered one transfer early.

    in place   F1  [SEND_F1 ~~~~ + RECV_B0 ~~~~]  B0
    ahead      F1  [SEND_F1 ~~~~ · · · · · · · ·  until the next
               RECV_B0 ~~~~~~~~~~~~~~]            B0

The seconds come from the caller; nothing here knows a model, a device or a network. How a schedule is played is
`performance`'s matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from plait.errors import PlaitError
from plait.schedules.action import COMPUTE, SENDS, Action
from plait.schedules.performance import Performance, perform
from plait.schedules.schedule import Schedule
from plait.schedules.score import Score, score_of

__all__ = ["Timed", "Timeline", "simulate", "timeline_of"]

_SecondsOf = Callable[[Action], float]


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
    compute_seconds: _SecondsOf,
    transfer_seconds: _SecondsOf,
    cores: float | None = None,
    demand: float = 1.0,
    *,
    hosts: Sequence[int] | None = None,
    ahead: Callable[[Action], bool] = lambda _: False,
    waits: bool = True,
) -> Timeline:
    """When each action of a legal schedule happens, given the seconds that a computation and a transfer take alone.

    `transfer_seconds` is asked once a transfer, of its send; the transfers of one step run side by side.
    With `cores`, the ranks of a host share that many: each running computation demands `demand` of them, and where the
    sum exceeds `cores` all of that host slow down in proportion (processor sharing). None gives each rank its own.
    `hosts`: where each rank stands, by numbers from 0; all on one where not said.
    `ahead`, asked of either end of a transfer: such receives are offered one transfer early, and such sends waited for
    by the next (`Wire.receives_ahead`). `waits=False`: so are all sends, as the executor's; a rank that waits for each
    in its place is the stricter assumption that a schedule is checked with.
    Raises IllegalSchedule (the cycle of waits) if the schedule deadlocks, PlaitError for impossible seconds or cores.
    """
    if demand <= 0 or (cores is not None and cores <= 0):
        raise PlaitError(f"cores and demand must be above 0; here cores = {cores}, demand = {demand}")
    score = score_of(schedule, ahead, waits=waits)
    each = zip(score.actions, score.computes, strict=True)
    seconds = [
        compute_seconds(action) if computes else transfer_seconds(action) if action.kind in SENDS else 0.0
        for action, computes in each
    ]
    return timeline_of(score, perform(score, seconds, cores, demand, hosts))


def timeline_of(score: Score, performance: Performance) -> Timeline:
    """The same with its actions by name."""
    actions, starts, ends = score.actions, performance.starts, performance.ends
    return Timeline(
        ranks=tuple(tuple(Timed(actions[n], starts[n], ends[n]) for n in order) for order in performance.order)
    )

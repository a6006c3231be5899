"""ZB-V (Qi et al. 2023): two stages a rank in a V, and backward in two parts; hardly more bubble than its start.

    rank 0   0F0 0F1 0F2 3F0 3I0 3W0 3F1 0I0 3I1 0W0 0F3 0I1 0W1 3F2 3I2 3W1 3W2 0I2 0W2 3F3 3I3 3W3 ... 0I3 0W3
    rank 1   ... 1F0 2F0 1F1 2F1 2I0 1I0 1W0 1F2 2I1 1I1 1W1 2F2 2W0 1F3 2I2 1I2 1W2 2F3 2W1 2W2 2I3 1I3 1W3 2W3

Rank r has stages r and 2p - 1 - r: the last rank turns around by itself, and the loss is known on the first one.
Written down by playing it, all computations one unit long: a rank that is free takes an I if one is ready, else a
forward (that of its later stage first) as long as it holds fewer than 2p microbatches of either stage, else the oldest
W. So a rank holds as much as the first one under 1F1B, p microbatches of two stages each. Where F, I and W take equally
long and m is p at least, a step takes 6m + p - 1 of them, or a few more: each rank begins a unit after the one
before it, and hardly waits from there on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from plait.errors import PlaitError
from plait.schedules.action import Action, Kind
from plait.schedules.clocked import clocked_schedule
from plait.schedules.schedule import Schedule

__all__ = ["zb_v"]


def zb_v(ranks: int, microbatches: int) -> Schedule:
    """The ZB-V schedule of `ranks` with two stages each; raises PlaitError unless both numbers are at least 1."""
    if ranks < 1 or microbatches < 1:
        raise PlaitError(f"a zb-v schedule needs at least 1 rank and 1 microbatch; here {ranks} and {microbatches}")
    stage_rank = [*range(ranks), *reversed(range(ranks))]
    return clocked_schedule("zb-v", microbatches, _orders(ranks, microbatches), stage_rank)


def _orders(ranks: int, microbatches: int) -> list[list[Action]]:
    work = [_Rank(early=rank, late=2 * ranks - 1 - rank, last=2 * ranks - 1, most=2 * ranks) for rank in range(ranks)]
    ended: set[Action] = set()
    while len(ended) < 6 * ranks * microbatches:
        chosen = [action for one in work if (action := one.take(ended, microbatches)) is not None]
        ended.update(chosen)  # all at once: what is performed now is there in the next unit
    return [one.order for one in work]


@dataclass
class _Rank:
    """A rank in play: its two stages, the `last` one of all, and what it has performed."""

    early: int
    late: int
    last: int
    most: int  # microbatches that it may hold
    order: list[Action] = field(default_factory=list[Action])
    done: dict[tuple[int, Kind], int] = field(default_factory=dict[tuple[int, Kind], int])

    def take(self, ended: set[Action], microbatches: int) -> Action | None:
        """What it performs in this unit, if anything can be; noted."""
        for action, need in self._options(microbatches):
            if need is None or need in ended:
                self.order.append(action)
                self.done[action.stage, action.kind] = action.microbatch + 1
                return action
        return None

    def _options(self, microbatches: int) -> Iterator[tuple[Action, Action | None]]:
        """What it could perform, best first, each with what another stage has to give for it."""
        early, late, last = self.early, self.late, self.last
        for stage in (early, late):
            if (k := self._count(stage, Kind.I)) < self._count(stage, Kind.F):
                yield Action(stage, Kind.I, k), None if stage == last else Action(stage + 1, Kind.I, k)
        held = sum(self._count(stage, Kind.F) - self._count(stage, Kind.W) for stage in (early, late))
        for stage in (late, early) if held < self.most else ():
            if (k := self._count(stage, Kind.F)) < microbatches:
                yield Action(stage, Kind.F, k), None if stage == 0 else Action(stage - 1, Kind.F, k)
        for stage in (early, late):
            if (k := self._count(stage, Kind.W)) < self._count(stage, Kind.I):
                yield Action(stage, Kind.W, k), None

    def _count(self, stage: int, kind: Kind) -> int:
        return self.done.get((stage, kind), 0)

"""A schedule, and the one rule by which a rank's order of computations becomes its program.

A generator (`gpipe`, `one_f_one_b`, ...) says only in which order a rank computes. The transfers follow: what a
computation needs is received just before it, what it gives is sent right after, and all that falls between two
computations is one fused step. So the 1F1B pairs that must be offered together come out together:

    order      F3            B0            F4
    program    F3  SEND_F3   B0  SEND_B0   F4  ...
                  +RECV_B0      +RECV_F4

Fusing never waits longer than one transfer after the other: it offers more, and sooner.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from plait.errors import PlaitError
from plait.schedules.action import Action, Kind, Step, step_text

__all__ = ["Schedule", "schedule_from_orders"]

_RECEIVED_BEFORE = {Kind.F: Kind.RECV_F, Kind.I: Kind.RECV_B, Kind.B: Kind.RECV_B}
_SENT_AFTER = {Kind.F: Kind.SEND_F, Kind.I: Kind.SEND_B, Kind.B: Kind.SEND_B}


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What every rank of a pipeline does, in order; `stage_rank[stage]` performs `stage`, `programs` go by rank."""

    kind: str
    stages: int
    microbatches: int
    stage_rank: tuple[int, ...]
    programs: tuple[tuple[Step, ...], ...]

    def __str__(self) -> str:
        return "\n".join(f"rank {rank}: {'  '.join(map(step_text, p))}" for rank, p in enumerate(self.programs))

    @property
    def ranks(self) -> int:
        """How many ranks the pipeline has; fewer than stages where a rank performs several."""
        return len(self.programs)


def schedule_from_orders(
    kind: str, microbatches: int, orders: Sequence[Iterable[Action]], stage_rank: Sequence[int] | None = None
) -> Schedule:
    """The schedule in which rank r computes in the order `orders[r]`, with every transfer put in its place.

    `stage_rank` defaults to one stage a rank. Raises PlaitError without stages or microbatches.
    """
    placed = tuple(range(len(orders)) if stage_rank is None else stage_rank)
    if not placed or microbatches < 1:
        raise PlaitError(
            f"a {kind} schedule needs at least 1 stage and 1 microbatch; here {len(placed)} and {microbatches}"
        )
    programs = tuple(tuple(_with_transfers(order, placed)) for order in orders)
    return Schedule(kind=kind, stages=len(placed), microbatches=microbatches, stage_rank=placed, programs=programs)


def _with_transfers(order: Iterable[Action], stage_rank: tuple[int, ...]) -> Iterator[Step]:
    between: Step = ()
    for action in order:
        between += _transfer(_RECEIVED_BEFORE, action, stage_rank)
        if between:
            yield between
        yield (action,)
        between = _transfer(_SENT_AFTER, action, stage_rank)
    if between:
        yield between


def _transfer(table: dict[Kind, Kind], action: Action, stage_rank: tuple[int, ...]) -> Step:
    """Nothing crosses at the ends of the pipeline, or between two stages of one rank."""
    if action.kind not in table:
        return ()
    transfer = Action(action.stage, table[action.kind], action.microbatch)
    exists = 0 <= transfer.peer < len(stage_rank)
    return (transfer,) if exists and stage_rank[transfer.peer] != stage_rank[action.stage] else ()

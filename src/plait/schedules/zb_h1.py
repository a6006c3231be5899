"""ZB-H1 (Qi et al. 2023): 1F1B with its backward in two, I for the inputs and W for the weights; W fills the bubble.

    rank 0   F0 F1 F2 F3 .. .. .. I0 W0 F4 I1 W1 F5 I2 W2 I3 W3 I4 W4 I5 W5
    rank 1   .. F0 F1 F2 .. .. I0 F3 I1 W0 F4 I2 W1 F5 I3 W2 I4 W3 I5 W4 W5
    rank 2   .. .. F0 F1 .. I0 F2 I1 F3 I2 W0 F4 I3 W1 F5 I4 W2 I5 W3 W4 W5
    rank 3   .. .. .. F0 I0 F1 I1 F2 I2 F3 I3 W0 F4 I4 W1 F5 I5 W2 W3 W4 W5

Only I is waited for by another rank. Rank r begins as under 1F1B, and performs W of a microbatch r backwards later than
it could: at the end it has r of them left, for the time in which it would wait. A microbatch is held until its W, so
that every rank holds min(p, m), as the first one does under 1F1B. The bubble is (p - 1) (F + I - W), from m = p on.
"""

from __future__ import annotations

from collections.abc import Iterator

from plait.errors import PlaitError
from plait.schedules.action import Action, Kind
from plait.schedules.clocked import clocked_schedule
from plait.schedules.schedule import Schedule

__all__ = ["zb_h1"]


def zb_h1(ranks: int, microbatches: int) -> Schedule:
    """The ZB-H1 schedule of `ranks` with a stage each; raises PlaitError unless both numbers are at least 1."""
    if ranks < 1 or microbatches < 1:
        raise PlaitError(f"a zb-h1 schedule needs at least 1 rank and 1 microbatch; here {ranks} and {microbatches}")
    orders = [list(_order(rank, ranks - 1 - rank, microbatches)) for rank in range(ranks)]
    return clocked_schedule("zb-h1", microbatches, orders, range(ranks))


def _order(rank: int, lead: int, microbatches: int) -> Iterator[Action]:
    for i in range(microbatches + lead + rank):
        for kind, k in ((Kind.F, i), (Kind.I, i - lead), (Kind.W, i - lead - rank)):
            if 0 <= k < microbatches:
                yield Action(rank, kind, k)

"""What a stage that does not compute waits for: bytes that are on their way to it, or a neighbour that has none yet.

    sender     F1 ├──────────┤SEND_F1
    receiver        RECV_F1 ├·········~~~~┤            · the neighbour still computes   ~ the bytes move
                            asked     sent └ there

A stage alone can't tell the two apart; both ends of a message, by one clock, can. Where ranks stand on hosts with
clocks of their own, messages in both directions tell how far these are apart. It knows timelines, not who made them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from plait.schedules.action import COMPUTE, RECEIVES, Action
from plait.schedules.timeline import Timed

__all__ = ["clock_offsets", "moving_seconds", "shifted"]

_Ranks = Sequence[Sequence[Timed]]
_Span = tuple[float, float]


def moving_seconds(ranks: _Ranks) -> tuple[float, ...]:
    """By rank of one step: the seconds in which it does not compute while what it receives is on its way.

    A transfer may be timed as the moving alone (`simulate`) or with the waiting before it (the executor).
    """
    sent = {timed.action: timed.start for rank in ranks for timed in rank}
    return tuple(_moving(rank, sent) for rank in ranks)


def _moving(rank: Sequence[Timed], sent: dict[Action, float]) -> float:
    coming = [
        (max(timed.start, sent.get(timed.action.counterpart, timed.start)), timed.end)
        for timed in rank
        if timed.action.kind in RECEIVES
    ]
    computing = [(timed.start, timed.end) for timed in rank if timed.action.kind in COMPUTE]
    return sum(
        end - start - _shared((start, end), computing)
        for start, end in _merged(span for span in coming if span[0] < span[1])
    )


def _merged(spans: Iterable[_Span]) -> list[_Span]:
    """What they cover, once."""
    found: list[_Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _shared(span: _Span, others: Iterable[_Span]) -> float:
    """How much of it lies in the others, which don't meet each other."""
    return sum(max(0.0, min(span[1], end) - max(span[0], start)) for start, end in others)


def clock_offsets(steps: Sequence[_Ranks]) -> tuple[float, ...]:
    """How far each rank's clock is ahead of the first rank's, from all messages between neighbours of these steps.

    As NTP has it (RFC 5905): half the difference between the quickest message there and the quickest back, each by the
    two clocks; it holds as far as the quickest ones took equally long, and one was waited for in each direction.
    """
    offsets = [0.0]
    for place in range(len(steps[0]) - 1):
        there = _quickest(steps, place, place + 1)
        back = _quickest(steps, place + 1, place)
        apart = (there - back) / 2 if there is not None and back is not None else 0.0
        offsets.append(offsets[-1] + apart)
    return tuple(offsets)


def _quickest(steps: Sequence[_Ranks], sender: int, receiver: int) -> float | None:
    """The least that any message took from one rank to the other, by the clock of each; None where there is none."""
    taken: list[float] = []
    for step in steps:
        sent = {timed.action: timed.start for timed in step[sender]}
        received = (timed for timed in step[receiver] if timed.action.kind in RECEIVES)
        taken += [one.end - sent[one.action.counterpart] for one in received if one.action.counterpart in sent]
    return min(taken, default=None)


def shifted(actions: Sequence[Timed], seconds: float) -> tuple[Timed, ...]:
    """The same, so many seconds later."""
    return tuple(Timed(one.action, one.start + seconds, one.end + seconds) for one in actions)

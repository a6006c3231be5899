"""Why a plan lost, in one sentence that is true, whoever priced it: what it pays and the best plan does not.

    cost                     loser     best
    data 2: communication    20 ms    16 ms      4 ms more than the best: a reason
    bubble                    0 ms     0 ms      none
    smaller operations      348 ms   335 ms      13 ms more: a reason, and alone enough where the plan is 10 ms behind

What both pay is no reason: with it for nothing, the best would still be ahead. The sentence names the reason that
leaves the shortest step, if that is no longer than the best one's; where none alone is enough it says so and names the
largest two. After a + in its words stands what the plan pays more, in parts of the best one's step or compute. It knows
seconds and words; what things cost is worked out by `explain` of each planner.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from plait.plans.plan import Plan
from plait.units import Bytes

__all__ = ["TIE", "Cost", "Explained", "Obvious", "Reason", "as_more", "in_one_sentence", "reasons_among"]

TIE = 1e-3  # plans closer than this are as good as equal
_ROUNDING = 1 + 1e-9


class Cost(NamedTuple):
    """Seconds that one thing costs a plan, and those that it costs the plan beside it; in words, for where it costs
    the first one more."""

    own: float
    rivals: float
    words: str


class Reason(NamedTuple):
    """What costs a plan more than the one beside it: the seconds of its step `without` what it pays more, in words,
    and what each of the two pays."""

    without: float
    words: str
    own: float
    rivals: float


@dataclass(frozen=True, kw_only=True)
class Explained:
    """A plan beside the best one (the best itself beside the second): its step, why it lost (None: it won), and all
    that costs it more, the largest first. `fits`: whether it has the memory that it needs;
    `risk`: the probability that it runs out."""

    plan: Plan
    step_seconds: float
    beside_seconds: float
    lost_because: str | None
    reasons: tuple[Reason, ...]
    risk: float
    fits: bool = True


@dataclass(frozen=True, kw_only=True)
class Obvious:
    """A plan that one might have expected: what it is, and why it is not the best. None for its `plan`: there is
    none; for its `step_seconds` too where it does not fit."""

    name: str
    why: str
    plan: Plan | None = None
    step_seconds: float | None = None


def reasons_among(costs: Iterable[Cost], seconds: float) -> tuple[Reason, ...]:
    """What a plan of so many seconds pays more than the one beside it, the largest first."""
    dearer = (one for one in costs if one.own > one.rivals * _ROUNDING)
    return tuple(sorted(Reason(seconds - (one.own - one.rivals), one.words, one.own, one.rivals) for one in dearer))


def in_one_sentence(found: Iterable[Reason], seconds: float, fastest: float, more_memory: int) -> str:
    """Why a plan of so many seconds lost to the `fastest`; `more_memory`: bytes that its fullest rank holds beyond the
    best plan's."""
    if seconds - fastest <= TIE * fastest:
        memory = f"; {Bytes(more_memory)} more memory on its fullest rank" if more_memory > 0 else ""
        return f"as fast as the best, within {TIE:.1%}{memory}"
    told = [one for one in found if seconds - one.without > TIE * fastest]
    if not told:
        return "no single reason: many, each below a thousandth of the step"
    if told[0].without <= fastest * _ROUNDING:
        return told[0].words
    return f"no single reason; the largest: {'; '.join(one.words for one in told[:2])}"


def as_more(seconds: float, fastest: float) -> str:
    """Seconds beside the fastest step: +12%, +0.4%."""
    share = seconds / fastest
    return f"+{share:.0%}" if share >= 0.01 else f"+{share:.1%}"

"""Bug or rounding? The rules, as a pure function of what was measured; no number in them is set by hand.

    how far a tensor is from the reference's            ├──────── rounding ────────┤ a bug
    float64   ├─ spread ─┤                                                         │
    float32   ├──────────────────── noise ──────────────────────────────────────────────────────┤

Rounding shrinks by 2^-29 from float32 to float64, a bug does not shrink: 2^-14.5 × noise is the geometric middle. Where
reordering the reference's sums is seen to spread float64 wider than that (Adam divides by next to nothing), the middle
lies between that spread and the noise. The noise of float32 is the larger of how far its two runs are apart and how far
its reference is from the float64 one; at least an epsilon of the largest element, below which float32 tells nothing.

A tensor whose own magnitude shrinks like that is zero in mathematics: all that is in it is rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Literal, get_args

from plait.verification.trace import EPSILON, Precision

__all__ = ["MIDDLE", "VERDICTS", "Measured", "Verdict", "is_zero", "judge", "scale", "worst"]

Verdict = Literal[
    "EXACT", "REASSOCIATION", "ZERO", "PINNED", "TIE", "LOSSY", "NONDETERMINISTIC", "NONFINITE", "BUG"
]  # fmt: skip
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)  # from best to worst
MIDDLE = 2.0**-14.5


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One tensor in one precision, all in absolute numbers: `magnitude` of the reference, `error` of the parallel run,
    `spread` of the reordered references. `repeats`: equal runs of one side gave equal bits; `whole`: both sides have
    the tensor, and all copies of each element agree."""

    magnitude: float
    error: float
    spread: float = 0.0
    finite: bool = True
    repeats: bool = True
    whole: bool = True


def judge(fp64: Measured, fp32: Measured, rounding: float) -> dict[Precision, Verdict]:
    """The verdict in each precision. `rounding`: how far the float32 reference is from the float64 one."""
    noise = max(EPSILON["fp32"] * fp64.magnitude, rounding, fp32.error if fp32.finite else 0.0)
    spread = max(fp64.spread, MIDDLE**2 * noise)
    inside = fp64.error <= fp64.spread or fp64.error < sqrt(spread) * sqrt(noise)  # their product may overflow
    within: Verdict = "ZERO" if is_zero(fp64, fp32) else "REASSOCIATION"
    judged: Verdict = within if inside else "BUG"
    return {"fp64": _verdict(fp64, judged), "fp32": _verdict(fp32, judged)}


def _verdict(measured: Measured, otherwise: Verdict) -> Verdict:
    if not measured.finite:
        return "NONFINITE"
    if not measured.repeats:
        return "NONDETERMINISTIC"
    if not measured.whole:
        return "BUG"
    return "EXACT" if measured.error == 0 else otherwise


def is_zero(fp64: Measured, fp32: Measured) -> bool:
    """Whether the tensor is zero in mathematics: its magnitude shrinks from float32 to float64 as rounding does."""
    return fp64.magnitude < MIDDLE * fp32.magnitude


def scale(fp64: Measured, fp32: Measured) -> float:
    """What errors are relative to: the tensor's largest element; where it is zero in mathematics the values that were
    summed into it, of which the rounding that is left is an epsilon."""
    if is_zero(fp64, fp32):
        return max(fp64.magnitude / EPSILON["fp64"], fp32.magnitude / EPSILON["fp32"])
    return fp64.magnitude or fp32.magnitude or 1.0


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of several verdicts; EXACT of none."""
    return VERDICTS[max(map(VERDICTS.index, verdicts), default=0)]

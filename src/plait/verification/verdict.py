"""Bug or rounding? The rules, as a pure function of what was measured; no number in them is set by hand.

    how far a tensor is from the reference's            ├──────── rounding ────────┤ a bug
    float64   ├─ spread ─┤                                                         │
    float32   ├──────────────────── noise ──────────────────────────────────────────────────────┤

Rounding shrinks by 2^-29 from float32 to float64, a bug does not shrink: 2^-14.5 × noise is the geometric middle. Where
reordering the reference's sums is seen to spread float64 wider than that (Adam divides by next to nothing), the middle
lies between that spread and the noise. The noise of float32 is the larger of what reordering does to it and of how far
its reference is from the float64 one; at least an epsilon of the largest element, below which float32 tells nothing.
The parallel run has no say in it: what rounds more than one process does, in either precision, is wrong.

In float32 by itself the bound is the middle between the noise and the tensor's own magnitude: what is beyond has been
cast to something narrower on its way. Where the noise is nearly all that there is, float64 alone decides.

Where a model can't be had in float64 (`pinned`), its float64 run is as noisy as float32, and is only held to that.
Where equal runs of the reference differ by `chance`, what departs by no more than the middle between that and the
tensor's own magnitude can't be judged; nor can what departs after the two sides have branched differently.

What a plan's own choice has changed is LOSSY however far it departs; but it has to be there, finite, and of equal bits
wherever it is held. What can be said of it beside that stands in `lossy`.

A tensor whose own magnitude shrinks like that is zero in mathematics: all that is in it is rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, sqrt
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
    `spread` of the reordered references, `chance` of equal ones; `parted`, how far copies of one element are apart.
    `steady`: equal runs of the parallel side gave equal bits; `missing`: one side does not have the tensor; `finite`:
    both sides are; `pinned`: something in the model can't be had in float64, `narrow`: what gave this tensor;
    `branching`: the two sides may have gone different ways before it; `lossy`: the plan itself changes it."""

    magnitude: float
    error: float
    spread: float = 0.0
    finite: bool = True
    finite_reference: bool = True
    chance: float = 0.0
    steady: bool = True
    missing: bool = False
    parted: float = 0.0
    pinned: bool = False
    narrow: bool = False
    branching: bool = False
    lossy: bool = False

    @property
    def excused(self) -> float:
        """How much of a difference chance may have made."""
        return _middle(self.chance, self.magnitude) if self.chance > 0 else 0.0


def judge(fp64: Measured, fp32: Measured, rounding: float) -> dict[Precision, Verdict]:
    """The verdict in each precision. `rounding`: how far the float32 reference is from the float64 one."""
    noise = max(EPSILON["fp32"] * fp64.magnitude, rounding, fp32.spread)
    seen = 0.0 if fp64.pinned else fp64.spread  # of a pinned model it is float32's own
    spread = max(seen, MIDDLE**2 * noise)
    inside = fp64.error <= seen or fp64.error < sqrt(spread) * sqrt(noise)  # their product may overflow
    within = _within(fp64, fp32)
    judged: Verdict = within if inside else _beyond(fp64, noise)
    known = judged == within and fp32.error > max(_middle(noise, fp32.magnitude), fp32.excused)
    return {"fp64": _verdict(fp64, judged), "fp32": _verdict(fp32, "BUG" if known else judged)}


def _middle(noise: float, magnitude: float) -> float:
    """The middle between noise and the tensor itself, where those are so far apart that there is one."""
    return sqrt(noise) * sqrt(magnitude) if noise < MIDDLE * magnitude else inf


def _within(fp64: Measured, fp32: Measured) -> Verdict:
    if fp64.narrow:
        return "PINNED"
    return "ZERO" if is_zero(fp64, fp32) else "REASSOCIATION"


def _beyond(fp64: Measured, noise: float) -> Verdict:
    if fp64.pinned and fp64.error <= max(noise, fp64.spread):
        return "PINNED"
    return "NONDETERMINISTIC" if fp64.branching or fp64.error <= fp64.excused else "BUG"


def _verdict(measured: Measured, otherwise: Verdict) -> Verdict:
    if measured.missing:
        return "BUG"
    if not measured.finite:
        return "NONFINITE"
    if measured.parted > measured.excused:
        return "BUG"
    found: Verdict = "LOSSY" if measured.lossy else otherwise
    found = "EXACT" if measured.error == 0 else found
    steady = measured.steady and measured.chance == 0
    return found if steady or found == "BUG" else "NONDETERMINISTIC"


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

"""Where a measured step departs from its prediction, and whose doing that is: one line for each cause worth naming.

    a stage's own computing      stage 1 computes 1.8 × what was predicted: +40 ms
    sums and messages            exposed communication along the data axis is 3.2 × what was predicted: +25 ms
    transfers between stages     bytes between stages, a part of the bubble, take 5.0 × what was predicted: +12 ms
    the update                   the optimizer takes 1.4 × what was predicted: +9 ms
    none of the plan's           other programs kept 1.0 cores busy meanwhile: the step is slower than …
                                 this machine is 1.24 × as slow as when it was profiled: …

A stage that waits for a slow neighbour is not slow, and the wire is not either: what a stage computes its own clock
tells, what moves between two both of theirs (`schedules.moving`), and what is left of the bubble follows from these; it
is named alone where nothing else is. It knows numbers on both sides, not how they were come by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from plait.plans.prediction import Prediction, Terms
from plait.specs.measurements import BUSY_CORES
from plait.units import Seconds

__all__ = ["Departure", "departures", "disturbance", "drifted"]

_LEAST_SHARE = 0.05  # of the predicted step: less is not told
_LEAST_RATIO = 1.1
_ALIKE = 1.15  # stages no further apart than this depart together
_DRIFTS = 0.1  # of what small blocks took in the profile

_BETWEEN_STAGES = "bytes between stages, a part of the bubble, take"
_EXPOSED = {  # by axis; along the pipeline's only sums are: what passes between stages is waited for in the bubble
    "data": "exposed communication along the data axis is",
    "tensor": "exposed communication along the tensor axis is",
    "pipeline": "sums over the pipeline after its schedule (tied weights, the norm) take",
}


@dataclass(frozen=True, kw_only=True)
class Departure:
    """One cause. `term`: "stage N", "stages", "optimizer", "bubble", "transfers" or an axis; both sides in seconds."""

    term: str
    predicted: float
    measured: float
    words: str

    @property
    def excess(self) -> float:
        """Seconds more than predicted."""
        return self.measured - self.predicted


def departures(
    prediction: Prediction, terms: Terms, stages: Sequence[Terms] = (), transfers: Sequence[float] = ()
) -> tuple[Departure, ...]:
    """What is worth naming, the largest first. `terms`: measured on the rank that computes longest; `stages` and
    `transfers`, measured, by stage, where they are known."""
    causes = [*_stages(prediction, terms, stages), *_others(prediction, terms, transfers)]
    found = [one for one in causes if _notable(one, prediction.step_seconds)]
    if not found:
        waiting = _departure("bubble", "waiting for neighbours takes", prediction.terms.bubble, terms.bubble)
        found = [waiting] if _notable(waiting, prediction.step_seconds) else []
    return tuple(sorted(found, key=lambda one: -abs(one.excess)))


def disturbance(other_cores: float | None) -> str | None:
    """In words, where other programs kept so many cores busy that what was measured is not the plan's doing alone."""
    if other_cores is None or other_cores <= BUSY_CORES:
        return None
    return f"other programs kept {other_cores:.1f} cores busy meanwhile: the step is slower than on a quiet machine"


def drifted(times: float | None) -> str | None:
    """In words, where the machine takes so many times as long as when it was profiled that predictions are of another
    one; None where that is not known."""
    if times is None or abs(times - 1) <= _DRIFTS:
        return None
    return f"this machine takes {times:.2f} × as long as when it was profiled: predictions are of a " + (
        "faster one" if times > 1 else "slower one"
    )


def _stages(prediction: Prediction, terms: Terms, stages: Sequence[Terms]) -> Iterator[Departure]:
    """Of each stage its own computing; of all together where they depart alike."""
    pairs = [(said.compute, found.compute) for said, found in zip(prediction.stages, stages, strict=False)]
    ratios = [found / said for said, found in pairs if said > 0]
    if len(ratios) < 2 or max(ratios) <= _ALIKE * min(ratios):
        name = "every stage computes" if len(ratios) > 1 else "computing takes"
        yield _departure("stages", name, prediction.terms.compute, terms.compute)
        return
    for stage, (said, found) in enumerate(pairs):
        yield _departure(f"stage {stage}", f"stage {stage} computes", said, found)


def _others(prediction: Prediction, terms: Terms, transfers: Sequence[float]) -> Iterator[Departure]:
    for axis, found in terms.exposed.items():
        yield _departure(axis, _EXPOSED[axis], prediction.terms.exposed.get(axis, 0.0), found)
    if transfers and prediction.transfers:
        yield _departure("transfers", _BETWEEN_STAGES, max(prediction.transfers), max(transfers))
    yield _departure("optimizer", "the optimizer takes", prediction.terms.optimizer, terms.optimizer)


def _departure(term: str, name: str, predicted: float, measured: float) -> Departure:
    times = f"{measured / predicted:.1f} × what was predicted" if predicted > 0 else "there, and none was predicted"
    sign = "+" if measured >= predicted else "−"
    words = f"{name} {times}: {sign}{Seconds(abs(measured - predicted))}"
    return Departure(term=term, predicted=predicted, measured=measured, words=words)


def _notable(one: Departure, step: float) -> bool:
    low, high = sorted((one.predicted, one.measured))
    return high - low > _LEAST_SHARE * step and high > _LEAST_RATIO * low

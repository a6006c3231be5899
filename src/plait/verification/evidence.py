"""Everything that was run, laid side by side: one row for each tensor, step and precision.

reference ─┬─ again              equal runs of one side: equal bits?
           ├─ reordered …        how far does rounding go?
           └─ judged ranks ──── free ranks
              copies equal along every axis?
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import dropwhile

import numpy as np

from plait.sharding.mesh_shape import MeshShape
from plait.verification.compare import assembled, differing_copies, largest, largest_difference
from plait.verification.lossy import NOTHING, Lossy, restored
from plait.verification.trace import EPSILON, PRECISIONS, Array, Entry, EntryKind, Looks, Precision, RankTrace, Trace
from plait.verification.verdict import MIDDLE, Measured, Verdict, judge, scale

__all__ = ["Evidence", "References", "Row", "rows"]


@dataclass(frozen=True, kw_only=True)
class References:
    """One process in one precision: the plain run, the same with its sums `reordered`, and the same `repeated`;
    `pinned`: the layers that compute in a narrower dtype whatever is asked; `looks`: what those that look at their data
    were told."""

    plain: Trace
    reordered: tuple[Trace, ...] = ()
    repeated: tuple[Trace, ...] = ()
    pinned: frozenset[str] = frozenset()
    looks: Looks = field(default_factory=dict[tuple[str, int], list[float]])


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The ranks of one plan in one precision: `judged` took every step from the reference's state, `free` did not."""

    mesh: MeshShape
    judged: Sequence[RankTrace]
    free: Sequence[RankTrace] = ()

    @cached_property
    def whole(self) -> Trace:
        """The judged ranks' tensors, put together."""
        return assembled(self.judged)

    @cached_property
    def free_whole(self) -> Trace:
        """The free ranks' tensors, put together."""
        return assembled(self.free)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One tensor, judged. `error` is relative to its largest element, `error_eps` in units of the precision's epsilon;
    `axes`: those along which its copies differ; `broken`: it is not finite, and the reference's is."""

    name: str
    kind: EntryKind
    step: int
    precision: Precision
    verdict: Verdict
    error: float
    error_eps: float
    axes: tuple[str, ...] = ()
    broken: bool = False

    @property
    def denies(self) -> bool:
        """Whether it shows that the two are not the same model."""
        return self.verdict == "BUG" or self.broken

    @property
    def entry(self) -> Entry:
        """The tensor's name within a run."""
        return Entry(self.step, self.kind, self.name)


def rows(
    references: Mapping[Precision, References], evidence: Mapping[Precision, Evidence], lossy: Lossy = NOTHING
) -> list[Row]:
    """Every tensor of every step in both precisions, in no particular order. `lossy`: what the plan itself changes."""
    sides: dict[Precision, _Side] = {p: _Side(references[p], evidence[p], lossy) for p in PRECISIONS}
    entries = dict.fromkeys(entry for side in sides.values() for entry in (*side.reference, *side.whole))
    return [row for entry in entries if not lossy.omits(entry) for row in _rows(entry, sides)]


def _rows(entry: Entry, sides: Mapping[Precision, _Side]) -> list[Row]:
    fp64, fp32 = (sides[precision].measured(entry) for precision in PRECISIONS)
    rounding = largest_difference(sides["fp64"].get(entry), sides["fp32"].get(entry))
    verdicts, unit = judge(fp64, fp32, rounding), scale(fp64, fp32)
    found: list[Row] = []
    for precision, measured in zip(PRECISIONS, (fp64, fp32), strict=True):
        error = min(measured.error / unit, 1e300) if measured.finite and measured.error < np.inf else 1.0
        row = Row(
            name=entry.name,
            kind=entry.kind,
            step=entry.step,
            precision=precision,
            verdict=verdicts[precision],
            error=error,
            error_eps=error / EPSILON[precision],
            axes=sides[precision].differing[entry].axes if entry in sides[precision].differing else (),
            broken=measured.finite_reference and not measured.finite,
        )
        found.append(row)
    return found


class _Side:
    """What there is in one precision."""

    def __init__(self, references: References, evidence: Evidence, lossy: Lossy) -> None:
        references = _with_restored(references, lossy)
        self.reference, self._references, self._lossy = references.plain, references, lossy
        self.whole = evidence.whole
        self.differing = differing_copies(evidence.judged, evidence.mesh)
        self._chance = dict(_chance(references))
        parted = _parted(references.looks, evidence.judged)
        in_order = dropwhile(lambda entry: entry.owner not in parted, self.reference)
        self._excused = set(in_order)  # what comes up before the first branch can't have gone another way
        self._unsteady = _differing(self.whole, evidence.free_whole, step=1)  # one and the same step

    def get(self, entry: Entry) -> Array:
        """The reference's tensor; empty where it has none."""
        return self.reference.get(entry, np.empty(0))

    def measured(self, entry: Entry) -> Measured:
        """How far the ranks are from the reference, and the reordered references from the plain one."""
        reference, candidate = self.get(entry), self.whole.get(entry)
        if candidate is None or entry not in self.reference:
            return Measured(magnitude=largest(reference), error=np.inf, missing=True)
        others = [trace[entry] for trace in self._references.reordered]
        finite = bool(np.isfinite(reference).all())
        return Measured(
            magnitude=largest(reference),
            error=largest_difference(reference, candidate),
            spread=largest_difference(reference, *others),
            finite_reference=finite,
            finite=finite and bool(np.isfinite(candidate).all()),
            chance=self._chance.get(entry, 0.0),
            steady=entry not in self._unsteady or self._lossy.unsteady(entry),
            parted=self.differing[entry].by if entry in self.differing else 0.0,
            pinned=bool(self._references.pinned),
            narrow=entry.owner in self._references.pinned,
            branching=entry in self._excused,
            lossy=self._lossy.touches(entry),
        )


def _with_restored(references: References, lossy: Lossy) -> References:
    """With the gradients once more under the names that they have where they are put together again."""
    return replace(
        references,
        plain=restored(references.plain, lossy),
        reordered=tuple(restored(trace, lossy) for trace in references.reordered),
        repeated=tuple(restored(trace, lossy) for trace in references.repeated),
    )


def _chance(references: References) -> Iterator[tuple[Entry, float]]:
    """How far equal runs of the reference are from one another, for each tensor from the first that they don't have
    alike; at least, relative to its magnitude, as far as those before it."""
    level = 0.0
    for entry, array in references.plain.items():
        magnitude = largest(array)
        apart = largest_difference(array, *(trace[entry] for trace in references.repeated))
        if apart > 0:
            level = max(level, apart / magnitude if 0 < magnitude < np.inf else 1.0)
        if level > 0:
            yield entry, max(apart, level * magnitude)


def _parted(told: Looks, ranks: Sequence[RankTrace]) -> set[str]:
    """The layers in which a rank was told something else of its data than the reference: they may have branched."""
    return {
        place[0] for rank in ranks for place, values in rank.looks.items() if not _same(values, told.get(place, ()))
    }


def _same(values: Sequence[float], others: Sequence[float]) -> bool:
    """Truths and whole numbers alike, others up to rounding."""
    return len(values) == len(others) and all(
        one == other or abs(one - other) <= MIDDLE * max(abs(one), abs(other)) or (one != one and other != other)
        for one, other in zip(values, others, strict=True)
    )


def _differing(one: Trace, other: Trace, step: int) -> set[Entry]:
    """The tensors of a step that two equal runs don't have alike to the bit; none where one didn't take place."""
    return {
        entry
        for entry, array in other.items()
        if step == entry.step and (entry not in one or not np.array_equal(one[entry], array, equal_nan=True))
    }

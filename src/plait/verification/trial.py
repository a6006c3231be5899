"""The runs of a proof, performed on ranks: the references once, then the plan, and plans like it to find an axis.

    references     plain twice, backwards, renumbered, in each precision              spread over the plan's ranks
    evidence       the plan in each precision: from the references' states, and free    on every rank
    dense twin     where the plan's own choice changes the mathematics: the same plan without that choice
    cures          the same with one axis at 1: is anything wrong still?

It imports no torch: what computes does so on ranks, and arrays come back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from plait.errors import RankFailure
from plait.layers.layer import Layer
from plait.plans.plan import Plan
from plait.plans.prediction import Work
from plait.sharding.mesh_shape import MeshShape
from plait.verification.compare import largest_difference
from plait.verification.effort import Departure, Effort, departures
from plait.verification.evidence import Evidence, References, Row, rows
from plait.verification.lossy import NOTHING, dense, lossy_of
from plait.verification.narrow import Subject
from plait.verification.tasks import performed, share_of_references, smallest_norm, testimony
from plait.verification.trace import EPSILON, PRECISIONS, Order, Precision, RankTrace, Reference, Trace
from plait.verification.verdict import MIDDLE

if TYPE_CHECKING:
    from plait.verification.source import Experiment

__all__ = ["Planned", "RunOnRanks", "Trial", "heard", "references", "with_biting_clip"]

RunOnRanks = Callable[..., list[Any]]
Planned = Callable[[Plan], Sequence[Work]]  # what each rank of a plan is to do

Asked = TypeVar("Asked", "Subject", "Experiment")

_ORDERS: tuple[Order, ...] = ("plain", "plain", "backwards", "renumbered")
_RUNS: list[tuple[Precision, Order]] = [(precision, order) for precision in PRECISIONS for order in _ORDERS]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is asked, with its references, what its ranks are to do, and the means to perform plans of it."""

    asked: Subject | Experiment
    layers: Sequence[Layer]
    references: Mapping[Precision, References]
    planned: Planned | None
    run: RunOnRanks

    def evidence(self, plan: Plan) -> tuple[dict[Precision, Evidence], tuple[Effort, ...]]:
        """A plan, each step from the reference's state, and as in training; and what each rank did for it."""
        ranks = self.run(plan.ranks, performed, replace(self.asked, plan=plan), self._states())
        evidence: dict[Precision, Evidence] = {
            p: Evidence(
                mesh=plan.mesh, judged=[runs[p].judged for runs, _ in ranks], free=[runs[p].free for runs, _ in ranks]
            )
            for p in PRECISIONS
        }
        if self.planned is None:
            return evidence, ()
        counted = zip(self.planned(plan), (work for _, work in ranks), strict=True)
        return evidence, tuple(Effort(rank=n, planned=p, performed=w) for n, (p, w) in enumerate(counted))

    def judged(self, plan: Plan, evidence: Mapping[Precision, Evidence]) -> list[Row]:
        """Every tensor of a plan's evidence. What its own choice touches is judged on its dense twin, too."""
        lossy = lossy_of(plan, self.layers, clips=self.asked.training.clip_norm > 0)
        found = rows(self.references, evidence, lossy)
        if lossy == NOTHING:
            return found
        twin = rows(self.references, self.evidence(dense(plan))[0])
        denied = {(row.entry, row.precision): row for row in twin if row.denies}
        mended = [denied.pop((row.entry, row.precision), row) if row.verdict == "LOSSY" else row for row in found]
        return [*mended, *(row for row in denied.values() if lossy.omits(row.entry))]

    def cures(self, plan: Plan) -> bool:
        """Whether nothing is wrong under another plan; one that can't even be run cures nothing."""
        return self._sound(plan, lambda evidence, _: not any(row.denies for row in self.judged(plan, evidence)))

    def lightens(self, plan: Plan) -> bool:
        """Whether under another plan the ranks do what they are to do."""
        return self._sound(plan, lambda _, departing: not departing)

    def _sound(self, plan: Plan, good: Callable[[dict[Precision, Evidence], tuple[Departure, ...]], bool]) -> bool:
        try:
            evidence, efforts = self.evidence(plan)
        except RankFailure:
            return False
        return good(evidence, departures(efforts))

    def _states(self) -> dict[Precision, Trace]:
        return {
            precision: {entry: array for entry, array in runs.plain.items() if entry.kind in ("weight", "optimizer")}
            for precision, runs in self.references.items()
        }


def references(asked: Subject | Experiment, run: RunOnRanks) -> dict[Precision, References]:
    """The one-process runs, shared out over as many ranks as the plan has."""
    shares = run(asked.plan.ranks, share_of_references, asked, _RUNS)
    by_number: dict[int, Reference] = {number: one for share in shares for number, one in share.items()}
    runs = {p: [by_number[len(_ORDERS) * n + place] for place in range(len(_ORDERS))] for n, p in enumerate(PRECISIONS)}
    alike = _same_model(runs["fp64"][0].trace, runs["fp64"][3].trace, runs["fp32"][0].trace)
    return {p: _of_precision(*runs[p], alike=alike) for p in PRECISIONS}


def _of_precision(
    plain: Reference, again: Reference, backwards: Reference, renumbered: Reference, *, alike: bool
) -> References:
    return References(
        plain=plain.trace,
        repeated=(again.trace,),
        reordered=(backwards.trace, renumbered.trace) if alike else (backwards.trace,),
        pinned=plain.pinned,
        looks=plain.looks,
    )


def _same_model(plain: Trace, renumbered: Trace, single: Trace) -> bool:
    """Whether a model means the same when its features are renumbered: a module of the user's may number them itself,
    and is another model then, from which no spread can be learnt."""
    for entry, array in plain.items():
        if entry.step == 1 and entry.kind in ("value", "loss", "gradient") and not entry.evaluated:
            noise = max(largest_difference(array, single[entry]), EPSILON["fp32"] * float(abs(array).max(initial=0.0)))
            if largest_difference(array, renumbered[entry]) > MIDDLE * noise:
                return False
    return True


def heard(asked: Subject, run: RunOnRanks) -> list[Row]:
    """The family's published module laid beside the reference: its loss and gradients in the first step."""
    told: dict[Precision, tuple[Trace, Trace]] = run(1, testimony, asked)[0]
    ours: dict[Precision, References] = {p: References(plain=told[p][0]) for p in PRECISIONS}
    theirs: dict[Precision, Evidence] = {
        p: Evidence(mesh=MeshShape(), judged=[RankTrace(tensors=told[p][1], intervals={})]) for p in PRECISIONS
    }
    return rows(ours, theirs)


def with_biting_clip(asked: Asked, run: RunOnRanks) -> Asked:
    """The limit on the norm at half of the smaller one of both steps, if it is higher: a step in which the
    clip does nothing proves nothing of it."""
    limit = asked.training.clip_norm
    if limit <= 0:
        return asked
    norm = run(asked.plan.ranks, smallest_norm, asked)[0]
    if norm > limit or norm == 0:
        return asked
    return replace(asked, training=replace(asked.training, clip_norm=norm / 2))

"""Which plan is best on equal machines of the catalogue: the whole space within bounds, the best few dozen in detail.

    space ──contest──> the fastest by closed forms ──played──> ranked

It knows a job and the catalogue, no file and no screen; unequal machines are `groups`'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from plait.clusters.contest import Contest, contest
from plait.clusters.pipelines import actions_played, balanced
from plait.clusters.played import Played, played
from plait.clusters.space import space_of
from plait.errors import IllegalJob, UnusableInput
from plait.estimates.arrangements import RECOMPUTE, SCHEDULES, Arrangements
from plait.estimates.estimate import DARING, most_risk
from plait.estimates.task import Task
from plait.plans.legality import problems
from plait.plans.plan import Plan
from plait.specs.job import Job
from plait.specs.training import PRECISIONS

__all__ = ["Found", "found_on", "order", "plan_of"]

_PLACES = 256  # of the contest
_SHAPES, _MOST_SHAPES = 12, 48  # pipelines that are played: so many always, and where they come out slow
_ACTIONS = 800  # computations for each of these: until so many are played, what may come out faster than its closed
_BELOW = 0.8  # form is, too, which hardly anything does by more than this
_LEVELS = 3  # ways to share out what each of them holds


@dataclass(frozen=True, kw_only=True)
class Found:
    """`plans` in detail, best first; none where nothing fits, and then the `nearest` to fitting. `considered`, `legal`,
    `unfit`, `unpriced`, `daring`: as in the contest."""

    plans: tuple[Played, ...]
    considered: int
    legal: int
    unfit: int
    unpriced: int
    daring: bool
    nearest: Played | None

    @property
    def limit(self) -> float:
        """The probability of running out of memory beyond which no plan was proposed."""
        return most_risk(daring=self.daring)


def found_on(job: Job, task: Task, places: int = _PLACES, shapes: int = _SHAPES) -> Found:
    """The best plans of a legal job on equal machines: of the `places` fastest by closed forms the first `shapes`
    different pipelines in detail, or more where these come out slower than the next one's closed form. Raises
    IllegalJob where no plan is legal, UnusableInput where none has a price."""
    space = space_of(job)
    if not space.legal:
        if wrong := problems(job):
            raise IllegalJob(wrong)
        raise UnusableInput("no plan that the job leaves open has a price on machines of the catalogue: fix fewer keys")
    best = contest(space, task, places)
    detailed = _detailed(job, task, best, shapes)
    fits = [one for one in detailed if one.risk <= best.limit]
    chosen = fits or [one for one in detailed if one.risk <= DARING]  # stages of unequal size hold more than their mean
    nearest = None if best.smallest is None else played(plan_of(job, task, best.smallest), task)
    if nearest is None and not chosen:
        nearest = min(detailed, key=lambda one: one.fill)
    return Found(
        plans=tuple(sorted(chosen, key=order)),
        considered=space.considered,
        legal=space.legal,
        unfit=best.unfit + len(detailed) - len(chosen),
        unpriced=best.unpriced,
        daring=best.daring or (not fits and bool(chosen)),
        nearest=nearest,
    )


def order(one: Played) -> tuple[float, ...]:
    """By time; what differs by less than a ten-thousandth is equal, and goes by how little is split, then by memory."""
    plan = one.plan
    digits = 4 - int(np.floor(np.log10(max(one.seconds, 1e-12))))
    split = plan.context, plan.expert, plan.pipeline, plan.tensor, plan.zero, plan.virtual_stages
    return round(one.seconds, digits), *split, RECOMPUTE.index(plan.recompute), one.memory[one.fullest].taken


def _detailed(job: Job, task: Task, best: Contest, shapes: int) -> list[Played]:
    """The first few shapes of pipelines, each with its first few ZeRO levels; and on, until one that was played and
    fits is no slower than the next one's closed form; than four fifths of it, while few actions have been played."""
    seen: dict[tuple[int, ...], int] = {}
    columns = ("data", "tensor", "pipeline", "context", "expert", "microbatch", "schedule", "virtual_stages",
               "sequence_parallel", "recompute")  # fmt: skip
    found: list[Played] = []
    fastest, actions = np.inf, 0
    for place, seconds in enumerate(best.seconds):
        row = best.plans.rows(np.array([place]))
        shape = tuple(int(getattr(row, name)[0]) for name in columns)
        enough = seconds * (_BELOW if actions < shapes * _ACTIONS else 1.0)
        if shape not in seen and (len(seen) >= _MOST_SHAPES or (len(seen) >= shapes and fastest <= enough)):
            continue
        seen[shape] = seen.get(shape, 0) + 1
        if seen[shape] <= _LEVELS:
            one = played(plan_of(job, task, row), task)
            found.append(one)
            actions += actions_played(one.plan, one.rounds)
            fastest = min(fastest, one.seconds if one.risk <= best.limit else np.inf)
    return found


def plan_of(job: Job, task: Task, row: Arrangements) -> Plan:
    """A row as a complete plan, its stages balanced unless the job fixes them; what nobody chose is as always."""
    schedule = SCHEDULES[int(row.schedule[0])]
    chosen = {name: int(getattr(row, name)[0]) for name in _NUMBERS}
    keys: dict[str, Any] = {
        "tensor_shares": (1,) * chosen["tensor"],
        "data_shares": (1,) * chosen["data"],
        "gradient_precision": PRECISIONS[job.training.precision].reduce,
        **job.constraints,
        **chosen,
        "schedule": schedule,
        "recompute": RECOMPUTE[int(row.recompute[0])],
        "sequence_parallel": bool(row.sequence_parallel[0]),
    }
    if "stages" not in keys:
        keys["stages"] = balanced(task, row, schedule)
    return Plan(**keys)


_NUMBERS = ("data", "tensor", "pipeline", "context", "expert", "microbatch", "virtual_stages", "zero")

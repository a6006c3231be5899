"""The answer of a search for machines of the catalogue: ranked plans, their bills, and what to know of them.

    Found ──> prediction, bill, reason of each ──> ClusterPlans       what lost besides, what would change it: on demand

It has the shape of the measured machine's answer (`planner.search.Plans`), so that commands tell both alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from time import perf_counter

from plait.clusters.bill import Bill, Objective, bill_of, require_known
from plait.clusters.changes import changes
from plait.clusters.explain import why_it_lost
from plait.clusters.groups import found_on_groups
from plait.clusters.hosts import offload_cautions
from plait.clusters.obvious import obvious_plans
from plait.clusters.pipelines import ends_of, pipeline_on, timeline_of
from plait.clusters.played import Played, played
from plait.clusters.search import Found, found_on
from plait.clusters.shortage import why_nothing_fits
from plait.clusters.tasks import require_priced, tasks_of
from plait.clusters.unequal import pipelines_of, played_on_groups
from plait.errors import NothingFits
from plait.estimates.coverage import outside_what_was_looked_at
from plait.estimates.task import Task
from plait.planner.reasons import Obvious
from plait.planner.remedies import unsafe
from plait.planner.simulator import Step
from plait.planner.what_if import WhatIf
from plait.plans.plan import Plan
from plait.plans.prediction import Prediction
from plait.specs.job import Job
from plait.specs.training import PRECISIONS

__all__ = ["ClusterPlan", "ClusterPlans", "cautions_of", "plan_cluster", "prediction_of", "price_plan", "step_on"]

_CLOSE = 0.05  # repeated runs of one configuration differ by as much (docs/cost_model.md)


@dataclass(frozen=True, kw_only=True)
class ClusterPlan:
    """A plan, what is predicted of it, what it costs, and why it lost; None for the best."""

    plan: Plan
    found: Played
    bill: Bill
    lost_because: str | None = None

    @cached_property
    def prediction(self) -> Prediction:
        """All that is said of it before it runs."""
        return prediction_of(self.found)

    @property
    def step_seconds(self) -> float:
        """Of its step."""
        return self.found.seconds

    @property
    def risk(self) -> float:
        """The probability that its fullest rank, or a host, runs out of memory."""
        return self.found.risk


@dataclass(frozen=True, kw_only=True)
class ClusterPlans:
    """`plans` best first. `considered`, `legal`, `unfit`: how many plans there are, how many of them are legal, and how
    many were priced and don't fit; `unpriced` ones can't be among the best (of unequal machines: are not expected
    to be). `too_close_to_call`: the second takes no more than 5 % longer."""

    job: Job
    tasks: tuple[Task, ...]
    objective: Objective
    search_seconds: float
    considered: int
    legal: int
    unfit: int
    unpriced: int
    plans: tuple[ClusterPlan, ...]
    too_close_to_call: bool
    cautions: tuple[str, ...]
    _found: Found = field(repr=False)

    @property
    def best(self) -> ClusterPlan:
        """The best one."""
        return self.plans[0]

    @property
    def limit(self) -> float:
        """The probability of running out of memory beyond which no plan was proposed."""
        return self._found.limit

    @cached_property
    def better(self) -> tuple[WhatIf, ...]:
        """What would be best on machines that are twice as good in one thing."""
        return changes(self.job, self.tasks, self._found, "twice")

    @cached_property
    def changes(self) -> tuple[WhatIf, ...]:
        """The same, and on machines that are half as good: with less room a search takes several times as long."""
        worse = changes(self.job, self.tasks, self._found, "half")
        return tuple(one for pair in zip(self.better, worse, strict=True) for one in pair)

    @cached_property
    def obvious(self) -> tuple[Obvious, ...]:
        """Plans that come to mind, and why they lost; of equal machines."""
        return obvious_plans(self.job, self.tasks[0], self._found) if len(self.tasks) == 1 else ()


def plan_cluster(job: Job, objective: Objective = "time") -> ClusterPlans:
    """The best plans of a legal job for machines of the catalogue.

    Raises NothingFits (which rank dies first, of which bytes, and the nearest change that would fit), UnusableInput for
    what can't be priced, IllegalJob where no plan is legal.
    """
    began = perf_counter()
    tasks = tasks_of(job)
    groups = [task.machines for task in tasks]
    require_known(objective, groups)
    found = found_on(job, tasks[0]) if len(tasks) == 1 else found_on_groups(job, tasks)
    if not found.plans:
        raise NothingFits(why_nothing_fits(job, tasks, found))
    best = found.plans[0]
    ranked = tuple(
        ClusterPlan(
            plan=one.plan,
            found=one,
            bill=bill_of(one.seconds, tasks, job.training.steps),
            lost_because=None if one is best else why_it_lost(one, best),
        )
        for one in found.plans
    )
    return ClusterPlans(
        job=job,
        tasks=tasks,
        objective=objective,
        search_seconds=perf_counter() - began,
        considered=found.considered,
        legal=found.legal,
        unfit=found.unfit,
        unpriced=found.unpriced,
        plans=ranked,
        too_close_to_call=len(ranked) > 1 and found.plans[1].seconds <= best.seconds * (1 + _CLOSE),
        cautions=(*cautions_of(job, best), *_daring(found)),
        _found=found,
    )


def price_plan(job: Job, plan: Plan) -> Played:
    """One plan of a legal job, priced and played. Raises UnusableInput for what can't be priced."""
    tasks = tasks_of(job)
    require_priced(vars(plan), [task.machines for task in tasks])
    return played(plan, tasks[0]) if len(tasks) == 1 else played_on_groups(plan, tasks)


def step_on(job: Job, plan: Plan) -> Step:
    """The step of a plan on the job's machines as its schedule would perform it; of replicas on unequal machines that
    of the slowest. Raises UnusableInput for what can't be priced."""
    tasks, one = tasks_of(job), price_plan(job, plan)
    pipelines = [pipeline_on(plan, tasks[0])] if len(tasks) == 1 else pipelines_of(plan, tasks)
    slowest = max(pipelines, key=lambda pipeline: ends_of(pipeline)[0])
    return Step(seconds=one.seconds, bottleneck=0, told=lambda: (one.terms,), shown=partial(timeline_of, slowest))


def prediction_of(one: Played) -> Prediction:
    """What is said of a plan for machines of the catalogue; their messages and FLOPs are not counted one by one."""
    return Prediction(
        step_seconds=one.seconds,
        interval=one.interval,
        terms=one.terms,
        memory_bytes=one.memory_bytes,
        weight_bytes=one.of_ranks("weights"),
        gradient_bytes=one.of_ranks("gradients"),
        optimizer_bytes=one.of_ranks("optimizer"),
        activation_bytes=one.of_ranks("activations", "logits"),
        flops=(),
        collectives=(),
    )


def _daring(found: Found) -> Iterator[str]:
    """What to know where no plan is safe."""
    if found.daring:
        yield unsafe([(one.plan, one.risk) for one in found.plans], lambda place: found.plans[place].seconds)


def cautions_of(job: Job, one: Played) -> tuple[str, ...]:
    """What is taken for granted in the price of a plan, and what its hosts need."""
    tasks = tasks_of(job)
    few = (outside_what_was_looked_at(task.machines.device, task.dtype) for task in tasks)
    told = [*dict.fromkeys(words for words in few if words is not None), *offload_cautions(one.hosts)]
    told += [
        f"{name} has no units for {job.training.precision}: priced in {dtype}, its own format of 16 bits"
        for name, dtype in dict.fromkeys((task.machines.device.name, task.dtype) for task in tasks)
        if dtype != PRECISIONS[job.training.precision].compute
    ]
    if job.model.heads % one.plan.tensor:
        told.append(
            f"tensor = {one.plan.tensor} does not divide the {job.model.heads} heads: priced as if they were dealt "
            "evenly"
        )
    return tuple(told)

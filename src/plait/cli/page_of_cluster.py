"""What the page of a plan shows, for machines of the catalogue: the same as for those that were measured, with bills.

It knows `clusters` and report.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.cli.page_of_plan import bars_of, changed, drawn_lanes, drawn_search, job_facts, thought, uneven_rows

if TYPE_CHECKING:
    from plait.clusters.answer import ClusterPlans
    from plait.clusters.played import Held, Played
    from plait.estimates.task import Task
    from plait.planner.simulator import Step
    from plait.plans.prediction import Terms
    from plait.report.plan_data import PlanPage, Room
    from plait.report.spans import Lane
    from plait.specs.job import Job
    from plait.specs.machines import Machines

__all__ = ["page_of_cluster", "page_on_cluster"]

_INTERVAL = "A bar ends at the predicted step; the line below it is where four of five runs are expected, "


def page_of_cluster(path: Path, plans: ClusterPlans, commands: Sequence[str] = ()) -> PlanPage:
    """Of all plans for the job at `path`, the best one drawn; `commands` that do it again."""
    from plait.clusters.answer import step_on
    from plait.report.plan_data import PlanPage

    best = plans.best
    return PlanPage(
        **_parts(path, plans.job, best.found, step_on(plans.job, best.plan)),
        search=drawn_search(plans),
        changes=tuple(map(changed, plans.changes)),
        thoughts=tuple(map(thought, plans.obvious)),
        notes=plans.cautions,
        commands=tuple(commands),
    )


def page_on_cluster(path: Path, job: Job, one: Played, step: Step, commands: Sequence[str] = ()) -> PlanPage:
    """Of one plan alone; `commands` that do it again."""
    from plait.clusters.answer import cautions_of
    from plait.report.plan_data import PlanPage

    return PlanPage(**_parts(path, job, one, step), notes=cautions_of(job, one), commands=tuple(commands))


def _parts(path: Path, job: Job, one: Played, step: Step) -> dict[str, Any]:
    from plait.clusters.bill import bill_of
    from plait.clusters.tasks import tasks_of
    from plait.report.plan_data import Cost

    plan, training, tasks = one.plan, job.training, tasks_of(job)
    groups = [task.machines for task in tasks]
    bill = bill_of(one.seconds, tasks, training.steps)
    replicas_differ = uneven_rows(plan, training.global_batch) or (len(groups) > 1 and plan.pipeline == 1)
    return {
        "name": path.stem,
        "facts": (*job_facts(job), *map(_machines, groups)),
        "plan": plan,
        "step_seconds": one.seconds,
        "interval": one.interval,
        "interval_words": _INTERVAL + _where(tasks),
        "terms": one.terms,
        "tokens_per_step": training.global_batch * training.sequence_length,
        "lanes": _lanes(step, one.terms),
        **drawn_lanes(plan, replicas_differ),
        "idle": step.timeline.bubble_fraction,
        "rooms": tuple(_rooms(one, groups)),
        "cost": Cost(steps=bill.steps, run_seconds=bill.run_seconds, run_money=bill.run_money,
                     run_joules=bill.run_joules),
    }  # fmt: skip


def _where(tasks: Sequence[Task]) -> str:
    from plait.estimates.coverage import few_looked_at

    found = (few_looked_at(task.machines.device, task.dtype) for task in tasks)
    few = dict.fromkeys(words for words in found if words is not None)
    return f"wide here, since {', and '.join(few)}." if few else "as published ones lie."


def _machines(group: Machines) -> str:
    return f"{group.ranks:,} × {group.device.name}"


def _lanes(step: Step, terms: Terms) -> tuple[Lane, ...]:
    """The schedule, stretched to the part of the step that is its own (what practice adds is in all terms alike), then
    sums and the optimizer. Transfers are in the schedule already."""
    from plait.report.spans import lane_from_rows, with_tail

    after = {"data": terms.exposed.get("data", 0.0)}
    stretch = (step.seconds - after["data"] - terms.optimizer) / step.timeline.step_seconds
    rows = (
        [(str(action), stretch * start, stretch * end) for action, start, end in timed] for timed in step.timeline.ranks
    )
    return with_tail([lane_from_rows(lane) for lane in rows], replace(terms, exposed=after))


def _rooms(one: Played, groups: Sequence[Machines]) -> Iterator[Room]:
    """The ranks of each group beside the memory of its devices."""
    from plait.report.plan_data import Room

    held, begun = list(zip(one.memory, one.sizes, strict=True)), 0
    for group in groups:
        own: list[tuple[dict[str, int], int]] = []
        first = begun
        while held and begun < first + group.ranks:
            what, count = held.pop(0)
            own.append((_kinds(what), count))
            begun += count
        title = f"On {_machines(group)}" if len(groups) > 1 else ""
        yield Room(bars=bars_of(own, first), limit=group.device.memory_bytes, title=title)


def _kinds(held: Held) -> dict[str, int]:
    """What a program allocates, and what else of the device is then taken."""
    kinds = {kind: round(size) for kind, size in held.kinds.items()}
    return {**kinds, "reserved": max(0, held.taken - sum(kinds.values()))}

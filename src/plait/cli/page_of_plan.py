"""What the page of a plan shows, from what the planner found for machines that were measured.

    Plans, or one Played ──> ranked plans, lanes, bars, what would change it ──> PlanPage ──> report

It knows planner and report; what neither has is the rule that ranks which hold the same are one bar where there are
many of them. Machines of the catalogue: `page_of_cluster`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.cli.model_size import model_size
from plait.errors import UnusableInput
from plait.specs.wording import ranks_named

if TYPE_CHECKING:
    from plait.clusters.answer import ClusterPlans
    from plait.planner.prices import JobPrices
    from plait.planner.reasons import Obvious
    from plait.planner.search import Plans
    from plait.planner.simulator import Played
    from plait.planner.what_if import WhatIf
    from plait.plans.plan import Plan
    from plait.report.data import Search
    from plait.report.memory import Bar
    from plait.report.plan_data import Changed, PlanPage, Room, Thought
    from plait.report.spans import Lane
    from plait.specs.job import Job
    from plait.specs.measurements import Measurements

__all__ = [
    "bars_of",
    "changed",
    "drawn_lanes",
    "drawn_search",
    "job_facts",
    "lane_names",
    "lanes_of",
    "page_of_one",
    "page_of_search",
    "thought",
    "uneven_rows",
    "write_page",
]

_DRAWN = 12  # ranked plans on a page
_SINGLE = 24  # ranks that still have a bar each
_INTERVAL = "A bar ends at the predicted step; the line below it is the error of the measured operations and links."


def write_page(path: Path, page: PlanPage) -> None:
    """The page as a file. Raises UnusableInput where it can't be written."""
    from plait.report.plan_page import render_plan

    try:
        path.write_text(render_plan(page), encoding="utf-8")
    except OSError as error:
        raise UnusableInput(f"the page can't be written to {path}: {error.strerror or error}") from error


def page_of_search(
    path: Path,
    job: Job,
    machine: Measurements,
    plans: Plans,
    what_if: Sequence[WhatIf],
    obvious: Sequence[Obvious],
    commands: Sequence[str] = (),
) -> PlanPage:
    """Of all plans for the job at `path`, the best one drawn; `commands` that do it again."""
    from plait.report.plan_data import PlanPage

    best = plans.best
    return PlanPage(
        **_parts(path, job, machine, best.found, best.prices),
        search=drawn_search(plans),
        changes=tuple(map(changed, what_if)),
        thoughts=tuple(map(thought, obvious)),
        notes=(
            *(f"corrected: {words}" for words in plans.corrections),
            *(f"a guess: {words}" for words in plans.guesses),
            *plans.cautions,
        ),
        commands=tuple(commands),
    )


def page_of_one(
    path: Path,
    job: Job,
    machine: Measurements,
    one: Played,
    prices: JobPrices,
    guesses: Sequence[str] = (),
    commands: Sequence[str] = (),
) -> PlanPage:
    """Of one plan alone, with what is a guess in its prediction; `commands` that do it again."""
    from plait.report.plan_data import PlanPage

    notes = tuple(f"a guess: {words}" for words in guesses)
    return PlanPage(**_parts(path, job, machine, one, prices), notes=notes, commands=tuple(commands))


def _parts(path: Path, job: Job, machine: Measurements, one: Played, prices: JobPrices) -> dict[str, Any]:
    from plait.planner.simulator import state
    from plait.report.data import Machine
    from plait.report.masthead import machine_facts
    from plait.report.plan_data import Cost

    plan, step, training = one.plan, one.step, job.training
    host = machine.host
    where = Machine(processor=host.processor, cores=host.cores, memory_bytes=host.memory_bytes) if host else None
    return {
        "name": path.stem,
        "facts": (*job_facts(job), *machine_facts(where)),
        "plan": plan,
        "step_seconds": step.seconds,
        "interval": state(one, prices).interval,
        "interval_words": _INTERVAL,
        "terms": step.terms,
        "tokens_per_step": training.global_batch * training.sequence_length,
        "lanes": lanes_of(one),
        **drawn_lanes(plan, _replicas_differ(plan, training.global_batch, prices)),
        "idle": step.timeline.bubble_fraction,
        "rooms": tuple(_rooms(one, prices)),
        "cost": Cost(steps=training.steps, run_seconds=training.steps * step.seconds),
    }


def drawn_search(found: Plans | ClusterPlans) -> Search:
    """The first plans that a search ranked, and how many it looked at."""
    from plait.report.data import RankedPlan, Search

    shown = found.plans[:_DRAWN]
    return Search(
        plans=tuple(
            RankedPlan(
                plan=one.plan,
                step_seconds=one.prediction.step_seconds,
                interval=one.prediction.interval,
                memory_bytes=one.prediction.memory_bytes,
                terms=one.prediction.terms,
                lost_because=one.lost_because,
            )
            for one in shown
        ),
        more=len(found.plans) - len(shown),
        considered=found.considered,
        legal=found.legal,
        search_seconds=found.search_seconds,
        too_close_to_call=found.too_close_to_call,
    )


def changed(one: WhatIf) -> Changed:
    """A machine that differs in one thing, as the page has it."""
    from plait.report.plan_data import Changed

    return Changed(what=one.change, plan=one.plan, step_seconds=one.step_seconds, same=not one.changes)


def thought(one: Obvious) -> Thought:
    """A plan that comes to mind, as the page has it."""
    from plait.report.plan_data import Thought

    return Thought(name=one.name, why=one.why, step_seconds=one.step_seconds)


def job_facts(job: Job) -> Iterator[str]:
    """The job in a few words."""
    from plait.layers.parameters import parameters
    from plait.report.figures import count

    training = job.training
    yield model_size(parameters(job.model))
    yield f"{count(training.global_batch * training.sequence_length)} tokens a step"
    yield f"{count(training.steps)} step" + ("" if training.steps == 1 else "s")


def _replicas_differ(plan: Plan, global_batch: int, prices: JobPrices) -> bool:
    """Whether they have other numbers of rows, or compute at other speeds."""
    return uneven_rows(plan, global_batch) or len(set(prices.slower(plan))) > 1


def uneven_rows(plan: Plan, global_batch: int) -> bool:
    """Whether replicas that have rows of a batch have different numbers of them."""
    from plait.plans.rows import row_counts

    return len({rows for rows in row_counts(plan, global_batch) if rows}) > 1


def drawn_lanes(plan: Plan, replicas_differ: bool) -> dict[str, Any]:
    """Whose the lines of a step are: of all replicas, or of the slowest."""
    return {
        "lane_names": ("slowest replica",) if replicas_differ and plan.pipeline == 1 else lane_names(plan),
        "ranks_a_lane": plan.ranks // plan.pipeline // (plan.data if replicas_differ else 1),
        "replicas_differ": replicas_differ,
    }


def lane_names(plan: Plan) -> tuple[str, ...]:
    """What the lines of a step are called: the ranks at each place along the pipeline, the outermost axis."""
    each = plan.ranks // plan.pipeline
    return tuple(ranks_named(place * each, each) for place in range(plan.pipeline))


# ---- the step -------------------------------------------------------------------------------------------------------


def lanes_of(one: Played) -> tuple[Lane, ...]:
    """A played step: the schedule, then what follows it as `planner.simulator` adds it up, so that the last span ends
    with the step."""
    from plait.report.spans import lane_from_rows

    cost, timeline = one.cost, one.step.timeline
    own = [timed[-1].end + rank.slowed for timed, rank in zip(timeline.ranks, cost.ranks, strict=True)]
    summed = [end + rank.data for end, rank in zip(own, cost.ranks, strict=True)]
    follows = (
        ("tensor", cost.tensor_sums), ("pipeline", cost.pipeline_sums), ("optimizer", cost.optimizer),
        ("data", cost.renewal),
    )  # fmt: skip
    tail: list[tuple[str, float, float]] = []
    end = max(summed)
    for name, seconds in follows:
        tail += [(name, end, end + seconds)] if seconds else []
        end += seconds
    lanes: list[Lane] = []
    for timed, start, stop in zip(timeline.ranks, own, summed, strict=True):
        rows = [(str(action), begin, until) for action, begin, until in timed]
        sums = [("data", start, stop)] if stop > start else []
        lanes.append(lane_from_rows([*rows, *sums, *tail]))
    return tuple(lanes)


# ---- memory ---------------------------------------------------------------------------------------------------------


def _rooms(one: Played, prices: JobPrices) -> Iterator[Room]:
    """Every rank on its own device; or on a host that all share, also all of them together."""
    from plait.report.memory import Bar
    from plait.report.plan_data import Room

    machine = prices.machine
    limit, shared = machine.memory_bytes, machine.shares_memory
    kinds = [{**held.kinds, "reserved": machine.taken(held.total) - held.total} for held in one.memory]
    bars = bars_of([(parts, 1) for parts in kinds])
    yield Room(bars=bars, limit=None if shared else limit)
    if shared and len(kinds) > 1:
        hosts = [{kind: sum(parts[kind] for parts in here) for kind in here[0]} for here in machine.hosts(kinds)]
        names = [f"host {number}" for number in range(len(hosts))] if len(hosts) > 1 else ["all ranks"]
        drawn = (Bar(rank=None, parts=parts, name=name) for parts, name in zip(hosts, names, strict=True))
        title = "All ranks together, in the memory that they share" + (", host by host" if len(hosts) > 1 else "")
        yield Room(bars=tuple(drawn), limit=limit, title=title)


def bars_of(held: Sequence[tuple[dict[str, int], int]], first: int = 0) -> tuple[Bar, ...]:
    """A bar a rank from rank `first` on, given what each of so many ranks holds; of more than a few ranks, neighbours
    that hold the same are one."""
    from plait.report.memory import Bar

    many = sum(count for _, count in held) > _SINGLE
    bars: list[Bar] = []
    for parts, count in held if many else [(parts, 1) for parts, several in held for _ in range(several)]:
        if many and bars and bars[-1].parts == parts:
            before = bars.pop()
            assert before.rank is not None
            bars.append(Bar(rank=before.rank, parts=parts, name=ranks_named(before.rank, first + count - before.rank)))
        else:
            bars.append(Bar(rank=first, parts=parts, name=ranks_named(first, count)))
        first += count
    return tuple(bars)

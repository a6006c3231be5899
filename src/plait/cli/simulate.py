"""`plait simulate JOB`: what will each rank do when? The very list that the executor performs, played and drawn."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.cli.command_line import command_line
from plait.cli.legal import left_open_lines, legal_job
from plait.cli.output import Answer, JsonFlag, Line
from plait.cli.plan import known_machine
from plait.errors import UnusableInput
from plait.units import Seconds

if TYPE_CHECKING:
    from plait.planner.simulator import Step
    from plait.plans.plan import Plan
    from plait.report.plan_data import PlanPage
    from plait.specs.job import Job

__all__ = ["command", "step_document", "step_lines"]

_WIDTH = 120  # characters of the drawing


@dataclass(frozen=True, kw_only=True)
class _Simulated:
    """A plan and its step, what draws its page with the commands that do it again, what is a guess in it, what to
    know of it before it runs, and what is told besides: in JSON, and for people."""

    plan: Plan
    step: Step
    page: Callable[[Sequence[str]], PlanPage]
    guesses: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    document: Mapping[str, Any] = field(default_factory=dict)
    lines: Sequence[str] = ()


def command(
    job: Annotated[Path, typer.Argument(help="The job, a TOML file.", metavar="JOB", show_default=False)],
    plan: Annotated[Path | None, typer.Option(help="The plan; left out, the best one.", metavar="PLAN")] = None,
    trace: Annotated[Path | None, typer.Option(help="Write a Chrome trace, for Perfetto.", metavar="FILE")] = None,
    svg: Annotated[Path | None, typer.Option(help="Draw the timeline as an SVG.", metavar="FILE")] = None,
    page: Annotated[Path | None, typer.Option(help="Draw all that is predicted as HTML.", metavar="FILE")] = None,
    measurements: Annotated[Path | None, typer.Option(help="What `plait profile` wrote.", metavar="FILE")] = None,
    json: JsonFlag = False,
) -> Answer:
    """What will each rank do when? A timeline as text, as a Chrome trace, and as a picture."""
    from plait.plans.files import read_plan
    from plait.report.schedule_picture import schedule_picture
    from plait.schedules.pictures import chrome_trace

    asked = legal_job(job)
    file = None if plan is None else read_plan(plan, asked)
    given = None if file is None else file.plan
    found = _elsewhere(job, asked, given) if asked.cluster.elsewhere else _here(job, asked, given, measurements)
    left_open = {} if file is None else file.left_open
    each = found.plan.ranks // found.plan.pipeline
    told = [*left_open_lines(plan, left_open), *([("yellow", f"a guess: {guess}")] for guess in found.guesses)]
    told += [[("yellow", caution)] for caution in found.cautions]
    if trace is not None:
        _write("trace", trace, f"{jsonlib.dumps(chrome_trace(found.step.timeline, each))}\n")
        told.append([("", f"trace written to {trace}")])
    if svg is not None:
        _write("picture", svg, f"{schedule_picture(found.step.timeline, each)}\n")
        told.append([("", f"picture written to {svg}")])
    if page is not None:
        from plait.cli.page_of_plan import write_page

        again = {"plan": plan, "page": page, "measurements": measurements}
        write_page(page, found.page([command_line("simulate", job, again)]))
        told.append([("", f"page written to {page}")])
    return Answer(
        document={
            **step_document(found.plan, found.step),
            "left_open": left_open,
            "guesses": list(found.guesses),
            **found.document,
        },
        lines=[*step_lines(found.plan, found.step), *([("", line)] for line in found.lines), *told],
    )


def _here(path: Path, job: Job, given: Plan | None, measurements: Path | None) -> _Simulated:
    """On this machine."""
    from plait.cli.page_of_plan import page_of_one
    from plait.devices.host import this_processor
    from plait.planner.coverage import outside_what_was_measured
    from plait.planner.prices import JobPrices
    from plait.planner.search import search
    from plait.planner.simulator import played

    machine = known_machine(job, measurements)
    plan = given or search(job, machine).best.plan
    prices = JobPrices(job.model, job.training, machine, job.cluster)
    one = played(plan, prices)
    guesses = outside_what_was_measured(plan, prices, this_processor())
    return _Simulated(
        plan=plan,
        step=one.step,
        page=lambda commands: page_of_one(path, job, machine, one, prices, guesses, commands),
        guesses=guesses,
    )


def _elsewhere(path: Path, job: Job, given: Plan | None) -> _Simulated:
    """On machines of the catalogue, where nobody sees it run: with its memory and its bill."""
    from plait.cli.cluster_plan import bill_document, bill_lines, memory_line
    from plait.cli.page_of_cluster import page_on_cluster
    from plait.clusters.answer import cautions_of, plan_cluster, price_plan, step_on
    from plait.clusters.bill import bill_of
    from plait.clusters.tasks import tasks_of

    plan = given or plan_cluster(job).best.plan
    one, step = price_plan(job, plan), step_on(job, plan)
    bill, cautions = bill_of(one.seconds, tasks_of(job), job.training.steps), cautions_of(job, one)
    return _Simulated(
        plan=plan,
        step=step,
        page=lambda commands: page_on_cluster(path, job, one, step, commands),
        cautions=cautions,
        document={
            "memory_bytes": list(one.memory_bytes),
            "host_bytes": one.host_bytes,
            "out_of_memory": one.risk,
            "bill": bill_document(bill),
            "cautions": list(cautions),
        },
        lines=(memory_line(one), *bill_lines(bill, job.training)),
    )


def step_document(plan: Plan, step: Step) -> dict[str, Any]:
    """The contract's `simulate` document: the actions of every rank; ranks of one stage do the same."""
    timeline = step.timeline
    actions = [
        [{"action": str(action), "start": start, "end": end} for action, start, end in timed]
        for timed in timeline.ranks
    ]
    each = plan.ranks // plan.pipeline  # the pipeline's axis is the outermost
    return {
        "step_seconds": step.seconds,
        "bubble_fraction": timeline.bubble_fraction,
        "terms": asdict(step.terms),
        "ranks": [{"rank": rank, "actions": actions[rank // each]} for rank in range(plan.ranks)],
    }


def step_lines(plan: Plan, step: Step) -> Iterator[Line]:
    """The timeline, drawn; and where the step's seconds go."""
    from plait.plans.describe import plan_name
    from plait.schedules.pictures import draw

    yield [("bold", plan_name(plan))]
    each = plan.ranks // plan.pipeline
    stages = (
        f"a line a {'stage' if plan.pipeline == len(plan.stages) else 'rank of the pipeline'}, " if each > 1 else ""
    )
    stages = f"{stages}of {each} ranks each; " if stages else ""
    back = "I backward of inputs, W of weights" if plan.divides_backward else "B backward"
    yield [("dim", f"{stages}F forward, {back}, ~ transfer, · waiting")]
    yield from ([("", line)] for line in draw(step.timeline, _WIDTH, each).splitlines())
    yield []
    parts = [("compute", step.terms.compute), ("bubble", step.terms.bubble), ("optimizer", step.terms.optimizer)]
    parts += [(f"exposed {axis}", seconds) for axis, seconds in step.terms.exposed.items()]
    told = ", ".join(f"{name} {Seconds(seconds)}" for name, seconds in parts if seconds)
    yield [("", f"a step takes {Seconds(step.seconds)}: {told}")]
    yield [("", f"stages wait for {step.timeline.bubble_fraction:.1%} of the schedule")]


def _write(what: str, path: Path, content: str) -> None:
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UnusableInput(f"the {what} can't be written to {path}: {error.strerror or error}") from error

"""`plait plan JOB`: which plan is best, what will it cost, and why did the others lose?

The best one is written as `plan.toml`, with its prediction, for every other command's `--plan` (`best_plan_file`). A
machine that was never measured is measured first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from plait.cli.best_plan_file import best_plan_file
from plait.cli.cluster_plan import cluster_answer
from plait.cli.command_line import command_line
from plait.cli.legal import legal_job
from plait.cli.model_size import model_size
from plait.cli.output import Answer, JsonFlag, Line, tell
from plait.cli.ranked import SHOWN, ranked_document, ranked_lines
from plait.errors import UnusableInput
from plait.units import Seconds

if TYPE_CHECKING:
    from plait.cli.best_plan_file import BestPlanFile
    from plait.cli.explained import Explanation
    from plait.planner.hiding import Hiding
    from plait.planner.search import Plans
    from plait.specs.job import Job
    from plait.specs.measurements import Measurements

__all__ = ["command", "known_machine", "plans_document", "plans_lines"]

_Objective = Literal["time", "money", "energy"]


def command(
    job: Annotated[Path, typer.Argument(help="The job, a TOML file.", metavar="JOB", show_default=False)],
    top: Annotated[
        int | None,
        typer.Option(
            help="How many plans to show, a line each.",
            min=1,
            metavar="K",
            show_default="10, and in a line those as fast; all in JSON",
        ),
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(
            help="Why a plan lost (its place in the table, or its file), what became of the obvious ones, and what "
            "would change the answer.",
            metavar="PLAN",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where to write the best plan.",
            metavar="FILE",
            show_default="plan.toml; nowhere, if that is a plan of somebody's own",
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(help="Draw the plans, and all that is predicted of the best, as HTML.", metavar="FILE"),
    ] = None,
    measurements: Annotated[Path | None, typer.Option(help="What `plait profile` wrote.", metavar="FILE")] = None,
    objective: Annotated[_Objective, typer.Option(help="What is to be least, on machines of the catalogue.")] = "time",
    json: JsonFlag = False,
) -> Answer:
    """Which plan is best, what will it cost, and why did the others lose? Writes it as plan.toml."""
    asked, file = legal_job(job), best_plan_file(out, job, explain)
    options = {"explain": explain, "out": out, "page": page, "measurements": measurements}
    options |= {"objective": None if objective == "time" else objective}
    again = _again(job, options, file, here=not asked.cluster.elsewhere)
    if asked.cluster.elsewhere:
        return cluster_answer(job, asked, top, file, objective, explain=explain, page=page, again=again)
    _require_time(objective)
    return _answer(job, asked, top, file, known_machine(asked, measurements), explain=explain, page=page, again=again)


def _answer(
    path: Path,
    job: Job,
    top: int | None,
    file: BestPlanFile,
    machine: Measurements,
    *,
    explain: str | None,
    page: Path | None,
    again: Sequence[str],
) -> Answer:
    """The same as `cluster_answer`, on the machine that was measured."""
    from plait.cli.explained import explain as explanation
    from plait.devices.host import this_processor
    from plait.planner.search import search

    plans = search(job, machine, max(top or 0, SHOWN), here=this_processor())
    told = None if explain is None else explanation(explain, job, machine, plans)
    file.write(plans.best.plan, plans.best.prediction)
    document = plans_document(plans, top) | dict(file.document)
    drawn: list[Line] = []
    if page is not None:
        _draw(page, path, job, machine, plans, told, again)
        document["page"] = str(page)
        drawn.append([("", f"page written to {page}")])
    return Answer(
        document=document if told is None else {**document, "explained": told.document},
        lines=[*plans_lines(plans, top), *(told.lines() if told else ()), file.line, *drawn],
    )


def _again(job: Path, options: Mapping[str, object | None], file: BestPlanFile, *, here: bool) -> list[str]:
    """The command itself, and what comes after it, if the best plan was written: it is proven, and `here` run."""
    lines = [command_line("plan", job, options)]
    if file.path is not None:
        lines.append(command_line("verify", job, {"plan": file.path}))
    if file.path is not None and here:
        lines.append(command_line("train", job, {"plan": file.path, "measurements": options["measurements"]}))
    return lines


def _require_time(objective: _Objective) -> None:
    if objective != "time":
        raise UnusableInput(
            f"--objective {objective} is for machines of the catalogue (cluster.device or cluster.groups); this one's "
            f"ranks cost alike and all are used, so that the least time is the least {objective}: leave it out"
        )


def _draw(
    page: Path,
    path: Path,
    job: Job,
    machine: Measurements,
    plans: Plans,
    told: Explanation | None,
    again: Sequence[str],
) -> None:
    """The page; what --explain has worked out is not worked out again."""
    from plait.cli.page_of_plan import page_of_search, write_page
    from plait.planner.changes import changes
    from plait.planner.obvious import obvious_losers

    what_if = changes(job, machine, plans) if told is None else told.what_if
    obvious = obvious_losers(job, plans) if told is None else told.obvious
    write_page(page, page_of_search(path, job, machine, plans, what_if, obvious, again))


def known_machine(job: Job, path: Path | None) -> Measurements:
    """The measurements in a file, or in the cache for as many hosts as the job's; where there are none yet, they are
    taken, and that is said."""
    from plait.api import measured
    from plait.launchers.started import hosts_of

    def say(stage: str) -> None:
        tell(f"never measured this machine before: timing {stage} ...")

    return measured(path, hosts=hosts_of(job), tell=say)


def plans_document(plans: Plans, top: int | None) -> dict[str, Any]:
    """The contract's `plan` document, with the first `top` plans, or all."""
    from plait.layers.parameters import parameters
    from plait.plans.report import parameters_document

    return {
        **parameters_document(parameters(plans.best.prices.model)),
        "search_seconds": plans.search_seconds,
        "considered": plans.considered,
        "legal": plans.legal,
        "unfit": plans.unfit,
        "played": plans.played,
        "plans": [ranked_document(one) | {"played": one.played} for one in plans.plans[:top]],
        "too_close_to_call": plans.too_close_to_call,
        "guesses": list(plans.guesses),
        "corrections": list(plans.corrections),
        "cautions": list(plans.cautions),
        "sums": [asdict(one) for one in plans.sums],
        "paces": [asdict(one) for one in plans.paces],
        "would_hide": None if plans.would_hide is None else _hiding_document(plans.would_hide),
    }


def _hiding_document(found: Hiding) -> dict[str, Any]:
    from plait.plans.files import plan_table

    return {
        "link": asdict(found.link),
        "steps": found.steps,
        "plan": plan_table(found.plan),
        "best_seconds": found.best_seconds,
        "unhindered_seconds": found.unhindered_seconds,
        "dense_seconds": found.dense_seconds,
        "advised": dict(found.advice),
        "choices": [
            {
                "keys": dict(one.keys),
                "plan": plan_table(one.plan),
                "step_seconds": one.step_seconds,
                "dense_steps": one.dense_steps,
                "run_seconds": one.run_seconds,
                "kept": one.kept,
            }
            for one in found.choices
        ],
    }


def plans_lines(plans: Plans, top: int | None) -> Iterator[Line]:
    """What a person wants to know: the ranked plans, the best one in words, and whether the race was close."""
    from plait.layers.parameters import parameters
    from plait.planner.hiding_words import hiding_lines
    from plait.planner.paces import pace_words
    from plait.planner.sum_choice import sum_words
    from plait.plans.describe import describe

    unfit = f", {plans.unfit} too large for the memory" if plans.unfit else ""
    left = len(plans.plans) - plans.played
    unplayed = f", {left} too slow whatever their schedule (not played)" if left else ""
    searched = f"{plans.considered} plans considered, {plans.legal} legal{unfit}{unplayed}"
    yield [("dim", f"{searched}, in {Seconds(plans.search_seconds)}")]
    yield [("dim", model_size(parameters(plans.best.prices.model)))]
    yield []
    yield from ranked_lines(plans.plans, top)
    yield []
    yield from ([("bold", line)] for line in describe(plans.best.plan).splitlines())
    yield from ([("", f"{words[0].upper()}{words[1:]}.")] for words in pace_words(plans.paces))
    if words := sum_words(plans.sums, plans.best.plan.local_steps):
        yield [("", f"{words[0].upper()}{words[1:]}.")]
    if plans.too_close_to_call:
        low, high = (Seconds(bound) for bound in plans.best.prediction.interval)
        yield [("yellow", f"too close to call: the best takes {low} to {high}, and others lie within that")]
    yield from ([("dim", f"corrected: {one}")] for one in plans.corrections)
    yield from ([("yellow", f"a guess: {guess}")] for guess in plans.guesses)
    yield from ([("yellow", caution)] for caution in plans.cautions)
    if plans.would_hide is not None:
        yield []
        yield from ([("", line)] for line in hiding_lines(plans.would_hide))

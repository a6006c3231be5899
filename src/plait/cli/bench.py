"""`plait bench JOB`: several plans in turns on the same ranks, predicted beside measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.cli.legal import legal_job, legal_plan
from plait.cli.output import Answer, JsonFlag, Line, tell
from plait.cli.plan import known_machine
from plait.cli.tables import columns
from plait.units import Bytes, Seconds

if TYPE_CHECKING:
    from plait.training.bench import Entry
    from plait.training.bench_result import Benched, BenchResult
    from plait.training.result import Measured

__all__ = ["command", "result_lines"]

_ALL = 10**9


def command(
    job: Annotated[Path, typer.Argument(help="The job, a TOML file.", metavar="JOB", show_default=False)],
    plans: Annotated[
        int | None,
        typer.Option(help="How many of the best plans.", min=1, metavar="K", show_default="8; none beside --plan"),
    ] = None,
    plan: Annotated[list[Path] | None, typer.Option(help="A plan; may be repeated.", metavar="FILE")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every legal plan that fits.")] = False,
    repeats: Annotated[int, typer.Option(help="Rounds: turns of each plan.", min=1, max=1000)] = 3,
    steps: Annotated[int, typer.Option(help="Steps of a turn, after two that don't count.", min=1)] = 15,
    out: Annotated[Path | None, typer.Option(help="The bench's directory (runs/bench-JOB).", metavar="DIR")] = None,
    record: Annotated[
        Path | None, typer.Option(help="Keep turns here; those in it are not taken again.", metavar="FILE")
    ] = None,
    measurements: Annotated[Path | None, typer.Option(help="What `plait profile` wrote.", metavar="FILE")] = None,
    json: JsonFlag = False,
) -> Answer | None:
    """Run several plans in turns, and lay predicted beside measured."""
    from plait.api import load
    from plait.cli.benching import bench
    from plait.launchers import together
    from plait.plans.planned import require_this_machine
    from plait.training.run_directory import RunDirectory

    run = out or Path("runs") / f"bench-{job.stem}"
    with together() as world:
        if world is not None and world.rank > 0:  # the first speaks for all
            bench(load(job), run=run)
            return None
        asked = legal_job(job)
        require_this_machine(asked)
        given = [legal_plan(path, asked) for path in plan or ()]
        RunDirectory.require_free(run)
        found = bench(
            asked,
            [file.plan for file in given],
            left_open={file.plan: file.left_open for file in given},
            best=_ALL if every else plans,
            repeats=repeats,
            steps=steps,
            run=run,
            record=record,
            measurements=known_machine(asked, measurements),
            on_turn=_tell_turn,
        )
    assert found is not None, "rank 0 is told what was found"
    return Answer(document=_document(run), lines=[*result_lines(found, run)], code=0 if found.plans else 1)


def _document(run: Path) -> dict[str, Any]:
    from json import loads

    from plait.training.run_directory import RunDirectory

    return loads(RunDirectory(run).bench.read_text(encoding="utf-8"))


def _tell_turn(turn: int, entry: Entry, measured: Measured | str) -> None:
    from plait.plans.describe import plan_name

    took = measured if isinstance(measured, str) else f"{Seconds(measured.step_seconds)}"
    predicted = Seconds(entry.prediction.step_seconds)
    tell(f"round {turn}  {plan_name(entry.plan)}: {took} (predicted {predicted})")


def result_lines(result: BenchResult, run: Path) -> Iterator[Line]:
    """One table, by measured step; the worst prediction marked; what all say together; why a step departs."""
    from plait.plans.describe import plan_name

    ranked = sorted(result.plans, key=lambda one: one.measured.step_seconds)
    yield from _table(ranked)
    for one in result.failed:
        yield [("bold red", f"{plan_name(one.plan)}: not measured: {one.error}")]
    yield []
    yield from _together(result)
    if result.disturbance is not None:
        yield [("yellow", result.disturbance)]
    if result.drift is not None:
        yield [("yellow", result.drift)]
    for one in ranked:
        for departure in one.departures[:2]:
            yield [("", f"{plan_name(one.plan)}: {departure.words}")]
    for guess in dict.fromkeys(guess for one in ranked for guess in one.guesses):
        yield [("yellow", f"a guess: {guess}")]
    yield [("", f"report: {run / 'report.html'}")]


def _together(result: BenchResult) -> Iterator[Line]:
    agreed = result.agreement
    if agreed is None:
        yield [("bold", "no plan was measured")]
        return
    alike = (
        "" if agreed.spearman is None else f"predicted and measured rank alike by {agreed.spearman:.2f} (Spearman); "
    )
    told = f"{alike}the pick is {agreed.regret:.1%} slower than the best; "
    told += f"a step is {agreed.median_error:.1%} off (median), its repeats ±{result.spread:.1%}"
    yield [("bold", told)]
    yield from _noise(result)


def _noise(result: BenchResult) -> Iterator[Line]:
    """What of the order is smaller than the noise of the repeats."""
    predicted = [one.prediction.step_seconds for one in result.plans]
    lost, pairs = result.pairs_in_noise
    if lost:
        which = f"{lost} of {pairs} pairs of plans are predicted"
        if lost == pairs:
            which = f"the plans are predicted to lie within {max(predicted) / min(predicted) - 1:.1%},"
        yield [("yellow", f"{which} closer together than repeats of the two: their order says nothing")]
    if result.overlapping is not None:
        pick, best = result.overlapping
        both = f"the pick (±{pick.spread:.1%}) and of the best (±{best.spread:.1%})"
        yield [("yellow", f"rounds of {both} overlap: which is faster was not measured")]


def _table(ranked: Sequence[Benched]) -> Iterator[Line]:
    """All figures of a plan in a line: predicted beside measured, term by term where there is anything."""
    if not ranked:
        return
    terms = [name for name in _terms(ranked[0]) if any(any(_terms(one)[name]) for one in ranked)]
    head = ("plan", "measured", "", "predicted", "error", *terms, "memory a rank")
    worst = max(ranked, key=lambda one: abs(one.error)) if len(ranked) > 1 else None
    first, *lines = columns([head, *(_row(one, terms) for one in ranked)])
    yield [("dim", first)]
    for one, line in zip(ranked, lines, strict=True):
        mark = "  ← worst predicted" if one is worst else ""
        style = "yellow" if one is worst else "bold green" if one is ranked[0] else ""
        yield [(style, line + mark)]
    yield [("dim", "terms and memory: predicted → measured")]


def _row(one: Benched, terms: Sequence[str]) -> tuple[str, ...]:
    from plait.plans.describe import plan_name

    found, predicted = one.measured, one.prediction
    pairs = _terms(one)
    most = f"{Bytes(max(predicted.memory_bytes))} → {Bytes(max(found.memory_bytes))}"
    return (
        plan_name(one.plan),
        str(Seconds(found.step_seconds)),
        f"±{one.spread:.0%}",
        str(Seconds(predicted.step_seconds)),
        f"{one.error:+.0%}",
        *(_pair(*pairs[name]) for name in terms),
        most,
    )


def _pair(predicted: float, measured: float) -> str:
    return f"{Seconds(predicted)} → {Seconds(measured)}" if predicted or measured else "–"


def _terms(one: Benched) -> dict[str, tuple[float, float]]:
    said, found = one.prediction.terms, one.measured
    pairs = {"compute": (said.compute, found.compute), "bubble": (said.bubble, found.bubble)}
    pairs |= {axis: (said.exposed.get(axis, 0.0), seconds) for axis, seconds in found.exposed.items()}
    return pairs | {"optimizer": (said.optimizer, found.optimizer)}

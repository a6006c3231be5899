"""`plait profile`: how fast is this machine really? Operations and links, never a training step.

What it finds is written where the planner reads it ($PLAIT_CACHE, else the user's cache), and shown as a page of tables
that says what a person would want to know: the best rate, the worst, what a message costs. Under torchrun the links are
those inside of the first host, and those between hosts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plait.cli.output import Answer, JsonFlag, Line, tell
from plait.errors import UnusableInput

if TYPE_CHECKING:
    from plait.planner.recalibration import Recalibrated
    from plait.specs.measurements import Measurements
    from plait.training.observations import Observations

__all__ = ["command"]

_MOST_RANKS = 64


def command(
    out: Annotated[Path | None, typer.Option(help="Where to write, in place of the cache.", metavar="FILE")] = None,
    ranks: Annotated[
        int | None, typer.Option(help="Between how many ranks.", min=1, max=_MOST_RANKS, show_default="one a core")
    ] = None,
    from_run: Annotated[
        Path | None, typer.Option("--from-run", help="Measure nothing: correct by this run or bench.", metavar="DIR")
    ] = None,
    measurements: Annotated[
        Path | None, typer.Option(help="With --from-run: what to correct, in place of the cache's.", metavar="FILE")
    ] = None,
    cut: Annotated[
        bool, typer.Option("--cut", help="With --from-run: write also what is cut at its limit, of a crowded machine.")
    ] = False,
    json: JsonFlag = False,
) -> Answer:
    """How fast is this machine really? Operations and links, never a training step; the planner reads what is found."""
    from plait.api import profile
    from plait.cli.profile_tables import profile_lines
    from plait.launchers import together
    from plait.specs.measurement_files import default_path, document_of, require_place, write_measurements

    if from_run is not None:
        return _corrected(from_run, measurements, out, cut=cut)
    with together() as world:
        if world is not None and world.rank > 0:  # the first speaks for all
            profile(ranks)
            return Answer(document={}, silent=True)
        path = out or default_path(hosts=1 if world is None else len(world.hosts))
        require_place(path)
        measured = profile(ranks, tell=lambda stage: tell(f"timing {stage} ..."))
        write_measurements(measured, path)
    return Answer(
        document=document_of(measured) | {"written": str(path)},
        lines=[*profile_lines(measured), [("", f"written to {path}")]],
    )


def _corrected(run: Path, known: Path | None, out: Path | None, *, cut: bool) -> Answer:
    """Corrections stand beside what was measured on as many hosts as the run's, in the same file unless another is
    named. Raises UnusableInput, and writes nothing, where all that the run asks for lies beyond belief."""
    from plait.api import measured
    from plait.planner.coverage import corrected_by_runs, correction_words
    from plait.specs.measurement_files import document_of, nearest_path, write_measurements
    from plait.training.observations import observations

    seen = observations(run)
    hosts = seen.job.cluster.nodes
    result = _recalibrated(measured(known, hosts=hosts), run, seen, cut=cut)
    found, beyond = result.measurements, tuple(map(correction_words, result.left_out))
    remedy = "profile it again, or run on a quiet machine (--cut writes it all the same)"
    if beyond and not found.corrections:
        raise UnusableInput(f"{'; '.join(beyond)}: nothing is written; {remedy}")
    path = out or known or nearest_path(hosts)
    write_measurements(found, path)
    words = corrected_by_runs(found) or (f"{run} ran as predicted: nothing is corrected",)
    lines: list[Line] = [[("", line)] for line in words]
    lines += [[("yellow", f"left out: {one}: {remedy}")] for one in beyond]
    return Answer(
        document=document_of(found) | {"written": str(path), "left_out": list(beyond)},
        lines=[*lines, [("", f"written to {path}")]],
    )


def _recalibrated(measurements: Measurements, run: Path, found: Observations, *, cut: bool) -> Recalibrated:
    """Corrected by what a run or a bench measured; raises UnusableInput for one of another machine."""
    from plait.planner.recalibration import Observed, recalibrated
    from plait.plans.departures import disturbance

    host = measurements.host
    if host is not None and host.on != (found.processor, found.cores):
        raise UnusableInput(
            f"{run} was measured on {found.cores} cores of {found.processor}, these measurements on {host.cores} of "
            f"{host.processor}: a run corrects its own machine's alone (--measurements names another file)"
        )
    runs = [
        Observed(plan=one, step_seconds=m.step_seconds, terms=m.terms, stages=m.stages, transfers=m.transfers)
        for one, m in found.plans
    ]
    busy = disturbance(found.other_cores)
    source = f"{run} ({busy})" if busy else str(run)
    return recalibrated(found.job, measurements, runs, source=source, date=found.date, cut=cut)

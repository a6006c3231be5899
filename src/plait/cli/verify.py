"""`plait verify JOB`: is the parallel run the same model as one device? A proof, or a culprit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plait.cli.legal import legal_job, legal_plan
from plait.cli.output import Answer, JsonFlag, Line

if TYPE_CHECKING:
    from plait.plans.files import PlanFile
    from plait.verification.evidence import Row
    from plait.verification.report import Standing, Verification
    from plait.verification.verdict import Verdict

__all__ = ["command", "plan_line", "verification_lines"]

_SHOWN = 12  # tensors in the table for people; the document has them all
_MEANING: dict[Verdict, str] = {
    "EXACT": "equal to the last bit",
    "REASSOCIATION": "the same sums in another order: rounding, which shrinks with the precision",
    "ZERO": "zero in mathematics, so that all that is in it is rounding",
    "PINNED": "computed in float32 whatever is asked, so that float64 can't look closer",
    "TIE": "a choice between equals fell the other way",
    "LOSSY": "the plan itself changes the mathematics",
    "NONDETERMINISTIC": "two equal runs of one side differ",
    "NONFINITE": "NaN or infinity",
    "BUG": "wrong: it doesn't shrink with the precision, and reordering sums doesn't explain it",
}
_STYLES: dict[Verdict, str] = {"EXACT": "green", "REASSOCIATION": "green", "ZERO": "green", "BUG": "bold red"}


def command(
    job: Annotated[Path, typer.Argument(help="The job, a TOML file.", metavar="JOB", show_default=False)],
    plan: Annotated[
        Path | None, typer.Option(help="The plan; left out, what the job fixes of one, completed.", metavar="PLAN")
    ] = None,
    ranks: Annotated[
        int | None,
        typer.Option(
            help="The most processes to prove it on.", min=1, metavar="N", show_default="8; all of torchrun's"
        ),
    ] = None,
    dump: Annotated[
        Path | None, typer.Option(help="Write both sides' gradients there, as safetensors.", metavar="DIR")
    ] = None,
    witness: Annotated[
        bool, typer.Option("--witness", help="Lay the one process itself beside transformers' module, too.")
    ] = False,
    json: JsonFlag = False,
) -> Answer:
    """Is the parallel run the same model as one device? A proof, or the first tensor that departs, and its axis."""
    from plait.api import load, verify_job
    from plait.launchers import together

    with together() as world:
        if world is not None and world.rank > 0:  # the first speaks for all
            answer = Answer(document={}, code=_code(verify_job(load(job), ranks=ranks)), silent=True)
        else:
            answer = _answer(job, plan, ranks, dump, witness)
        if world is not None and answer.code:
            world.end_by_itself()
    return answer


def _answer(job: Path, plan: Path | None, ranks: int | None, dump: Path | None, witness: bool) -> Answer:
    from plait.api import verify_job
    from plait.plans.completion import left_open, own_plan
    from plait.plans.files import PlanFile, plan_table
    from plait.verification.report import document

    asked = legal_job(job)
    if plan is not None:
        chosen = legal_plan(plan, asked)
    else:
        own = own_plan(asked)
        chosen = PlanFile(plan=own, left_open=left_open(asked.constraints, own))
    found = verify_job(asked, chosen.plan, ranks=ranks, dump=dump, witness=witness)
    lines = [plan_line(chosen, plan), *verification_lines(found)]
    if dump is not None:
        lines.append([("dim", f"Both sides' gradients: {dump / 'reference.safetensors'} and parallel.safetensors.")])
    told = {"plan": plan_table(chosen.plan), "left_open": chosen.left_open}
    return Answer(document={**document(found), **told}, lines=lines, code=_code(found))


def _code(verification: Verification) -> int:
    return 1 if verification.denied else 0


def plan_line(chosen: PlanFile, path: Path | None) -> Line:
    """Which plan it is that is judged: that of the file at `path`, or the job's own, which is not the planner's choice
    where it leaves something open."""
    from plait.plans.describe import plan_name

    name = plan_name(chosen.plan)
    if path is not None:
        return [("bold", f"The plan in {path}: {name}")]
    other = "; `plait plan` may choose another (--plan FILE verifies that one)" if chosen.left_open else ""
    return [("bold", f"The job's own plan, completed: {name}"), ("", other)]


def verification_lines(verification: Verification) -> Iterator[Line]:
    """What a person wants to know: the verdict, what it was found out on, and the tensors that are furthest apart."""
    from plait.verification.report import sentence

    verdict = verification.verdict
    yield [(_STYLES.get(verdict, "bold yellow"), verdict), ("bold", f"  {sentence(verification)}")]
    yield []
    yield from _scope(verification)
    yield []
    yield from _table(_first_shown(verification))
    rest = len(verification.tensors) - _SHOWN
    if rest > 0:
        yield [("dim", f"… and {rest:,} more, none of them worse (--json has them all)")]
    yield []
    yield from _counts(verification.tensors)
    if not any(row.axes for row in verification.tensors):
        yield [("dim", "Wherever several ranks hold one element, their copies are equal to the last bit.")]
    yield from _heard(verification.witness)
    yield from _departures(verification)
    if verdict == "BUG" and verification.losses:
        seen = ", then ".join(f"{one:.6f} and {many:.6f}" for one, many in verification.losses)
        yield [("dim", f"A comparison of losses would have seen {seen}.")]


def _first_shown(verification: Verification) -> list[Row]:
    """The worst, but what is to blame before all others."""
    rows, culprit = verification.tensors, verification.culprit
    blamed = [row for row in rows if culprit is not None and row.name == culprit.tensor and row.denies]
    return [*blamed, *(row for row in rows if row not in blamed)][:_SHOWN]


def _heard(rows: Sequence[Row]) -> Iterator[Line]:
    """What the published module says of the reference."""
    if not rows:
        return
    departing = [row for row in rows if row.verdict == "BUG"]
    if departing:
        names = ", ".join(dict.fromkeys(row.name for row in departing[:_SHOWN]))
        yield [("bold red", f"transformers' module on the same weights is another model than the one process: {names}")]
    else:
        worst = max(row.error_eps for row in rows if row.precision == "fp64")
        yield [("dim", "transformers' module on the same weights has the same loss and gradients as the one process,")]
        yield [("dim", f"to {worst:,.3g} eps in float64.")]


def _departures(verification: Verification) -> Iterator[Line]:
    """Where ranks computed, held or sent something else than the plan says."""
    found = verification.departures
    if found:
        yield [("bold red", f"{len(found)} numbers of the ranks' work are not the plan's:")]
    for one in found[:_SHOWN]:
        yield [("", f"  rank {one.rank}: {one.what}: {one.planned:,} by the plan, {one.performed:,} counted")]


def _scope(verification: Verification) -> Iterator[Line]:
    """On what it was run, and what was made smaller for it."""
    narrowed = {key: change["verified"] for key, change in verification.narrowed.items()}
    ran = {**verification.kept, **narrowed}
    degrees = [f"{axis} {ran[f'plan.{axis}']}" for axis in ("data", "tensor", "pipeline")]
    yield [("dim", f"Two steps in one process and in parallel ({', '.join(degrees)}), in float64 and in float32,")]
    yield [("dim", f"random weights and tokens by address; {verification.seconds:.1f} s.")]
    if verification.standing is not None:
        yield from _hosts(verification.standing)
    for key, change in verification.narrowed.items():
        yield [("dim", f"  narrowed  {key}: {_short(change['job'])} → {_short(change['verified'])}")]


def _hosts(standing: Standing) -> Iterator[Line]:
    """Where the ranks stood, and what that proves nothing of."""
    where = "; ".join(f"host {number}: {', '.join(map(str, ranks))}" for number, ranks in enumerate(standing.hosts))
    across = f"{' and '.join(standing.across)} between hosts" if standing.across else "nothing went between hosts"
    yield [("dim" if standing.across else "yellow", f"Ranks by host ({where}); {across}.")]
    if standing.idle:
        yield [("yellow", f"Ranks {', '.join(map(str, standing.idle))} had nothing to do.")]


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _table(rows: Sequence[Row]) -> Iterator[Line]:
    """The error of a tensor in units of its precision's epsilon, the smallest relative difference that it knows."""
    cells = [("tensor", "what", "step", "precision", "error / eps")]
    cells += [(r.name, r.kind, str(r.step), r.precision, f"{r.error_eps:,.3g}") for r in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "".join(
            f"{cell:>{width}}  " if column in (2, 4) else f"{cell:<{width}}  "
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    yield [("dim", f"{lines[0]}verdict")]
    for line, row in zip(lines[1:], rows, strict=True):
        yield [("", line), (_STYLES.get(row.verdict, "yellow"), row.verdict)]


def _counts(rows: Sequence[Row]) -> Iterator[Line]:
    """How many tensors there are of each verdict, with the verdict in words."""
    found = Counter(row.verdict for row in rows)
    for verdict, words in reversed(_MEANING.items()):
        if found[verdict]:
            yield [("", f"{found[verdict]:7,} "), (_STYLES.get(verdict, "yellow"), verdict), ("dim", f"  {words}")]

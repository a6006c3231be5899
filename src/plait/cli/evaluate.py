"""`plait evaluate RUNS.csv`: how well does the planner predict these measured runs?

Row by row, source by source, and within groups of runs: of one model, and of one job, between whose plans a planner
chooses; always beside what one fitted constant would do. Exit 0 whatever the errors are: they are the answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.cli.output import Answer, JsonFlag, Line
from plait.cli.tables import columns, difference
from plait.specs.wording import counted
from plait.units import Seconds

if TYPE_CHECKING:
    from plait.evaluation.evaluate import Evaluation, Judged
    from plait.evaluation.groups import Group
    from plait.evaluation.out_of_memory import OutOfMemory
    from plait.evaluation.scores import Errors, Found

__all__ = ["command", "evaluation_document", "evaluation_lines"]

_SHOWN = 8  # groups, and reasons to skip a row
_FEW_ROWS = 20  # of which each is told
_ANSWERS = {"fits": "", "uncertain": "may run out: ", "runs_out": "runs out: "}  # before what would be held
_COMPARED = 5  # runs of a group whose order means something; of one job: that predictions tell apart


def command(
    runs: Annotated[Path, typer.Argument(help="Measured runs, a CSV file.", metavar="RUNS.csv", show_default=False)],
    json: JsonFlag = False,
) -> Answer:
    """How well does the planner predict these measured runs? Errors, order, memory, beside a fitted constant."""
    from plait.evaluation.evaluate import evaluate

    found = evaluate(runs)
    return Answer(document=evaluation_document(found), lines=list(evaluation_lines(found)))


def evaluation_document(found: Evaluation) -> dict[str, Any]:
    """The contract's document; beside it errors by source, and the interval's part of the measured times."""
    return {
        "rows": [_row_document(one) for one in found.judged],
        "groups": [_group_document(one) for one in found.groups],
        "same_job": [_group_document(one) for one in found.same_job],
        "baseline": {
            "what": "one efficiency a source, fitted to the very rows",
            **_errors_document(found.constant),
            "sources": [
                {"source": one.name, "efficiency": one.efficiency, **_errors_document(one.constant)}
                for one in found.sources
            ],
        },
        "out_of_memory": _out_of_memory_document(found.out_of_memory),
        "time": _errors_document(found.time),
        "memory": _errors_document(found.memory),
        "sources": [
            {"source": one.name, "time": _errors_document(one.time), "memory": _errors_document(one.memory)}
            for one in found.sources
        ],
        "within_interval": found.within,
        "skipped": dict(Counter(one.skipped for one in found.skipped if one.skipped)),
    }


def _group_document(one: Group) -> dict[str, Any]:
    """What it has in common beside what was found."""
    table = asdict(one)
    return {**{key: table.pop(key) for key in ("source", "model", "n_gpus")}, **table.pop("job"), **table}


def _row_document(one: Judged) -> dict[str, Any]:
    from plait.evaluation.out_of_memory import answer

    pair, memory = one.pair, one.memory_pair
    return {
        "case_id": one.row.case,
        "line": one.row.line,
        "repeats_line": one.row.repeats,
        "predicted_iter_s": one.seconds,
        "interval": None if one.interval is None else list(one.interval),
        "error": None if pair is None else pair[0] / pair[1] - 1,
        "predicted_mem_gib": one.gibibytes,
        "memory_error": None if memory is None else memory[0] / memory[1] - 1,
        "out_of_memory_probability": one.runs_out,
        "out_of_memory_answer": None if one.runs_out is None else answer(one.runs_out),
        "ran_out_of_memory": one.ran_out,
        "assumed_links": sorted(one.assumed),
        "unread": list(one.unread),
        "skipped": one.skipped,
    }


def _out_of_memory_document(found: OutOfMemory) -> dict[str, Any]:
    """The contract's precision and recall are of the runs that are said to run out; those of two other readings."""
    from plait.clusters.contest import RISK
    from plait.evaluation.out_of_memory import FLAGGED

    return {
        "n": found.n,
        "skipped": found.skipped,
        "flagged_above": FLAGGED,
        **asdict(found.flagged),
        "answers": {name: {"ran": found.ran[name], "ran_out": found.ran_out[name]} for name in found.ran},
        "without_uncertain": asdict(found.certain),
        "refused_by_plan": {"above": RISK, **asdict(found.refused)},
    }


def _errors_document(found: Errors | None) -> dict[str, Any]:
    if found is None:
        return {"n": 0, "median_error": None, "mean_error": None, "worst_error": None, "bias": None}
    return {
        "n": found.n,
        "median_error": found.median,
        "mean_error": found.mean,
        "worst_error": found.worst,
        "bias": found.bias,
    }


# ---- for people -----------------------------------------------------------------------------------------------------


def evaluation_lines(found: Evaluation) -> Iterator[Line]:
    """By source, by group, and what could not be predicted; of a short file each row's, first."""
    if len(found.judged) <= _FEW_ROWS:
        yield from _row_lines([one for one in found.judged if one.skipped is None])
    yield [
        ("bold", "step time"),
        ("dim", "   |predicted / measured - 1|, beside one efficiency a source fitted to the rows"),
    ]
    head = ("", "runs", "median", "mean", "bias", "constant: median", "mean")
    sources = sorted(found.sources, key=lambda one: -(one.time.median if one.time else -1))
    rows = [
        (one.name[:44], *_cells(one.time), *_cells(one.constant, short=True)) for one in sources if one.time is not None
    ]
    yield from _table([head, *rows, ("all", *_cells(found.time), *_cells(found.constant, short=True))])
    yield from _memory_lines(found)
    yield from _out_of_memory_lines(found.out_of_memory)
    yield from _group_lines("order within a group", [one for one in found.groups if one.n >= _COMPARED])
    yield from _group_lines("order of plans of one job", [one for one in found.same_job if one.told_apart >= _COMPARED])
    if found.within is not None:
        yield [("", f"{found.within:.0%} of the measured times lie within their interval")]
    yield from _unread_lines(found)
    yield from _skipped_lines(found)


def _row_lines(judged: Sequence[Judged]) -> Iterator[Line]:
    if not judged:
        return
    head = ("run", "measured", "predicted", "80% within", "error", "memory: measured", "predicted")
    yield from _table([head, *map(_row_cells, judged)])
    yield []


def _row_cells(one: Judged) -> tuple[str, ...]:
    from plait.evaluation.out_of_memory import answer

    measured, memory = one.row.number("iter_s"), one.memory_pair
    assert one.seconds is not None
    assert one.interval is not None
    assert one.gibibytes is not None
    assert one.runs_out is not None
    held = "ran out" if one.ran_out else f"{memory[1]:.3g} GiB" if memory else ""
    low, high = map(Seconds, one.interval)
    return (
        one.row.case[:44] + (f" (its link {' and '.join(sorted(one.assumed))} assumed)" if one.assumed else ""),
        "" if measured is None else str(Seconds(measured)),
        str(Seconds(one.seconds)),
        f"{low} to {high}",
        "" if one.pair is None else difference(*one.pair),
        held,
        f"{_ANSWERS[answer(one.runs_out)]}{one.gibibytes:.3g} GiB",
    )


def _cells(errors: Errors | None, *, short: bool = False) -> tuple[str, ...]:
    if errors is None:
        return ("", "") if short else ("0", "", "", "")
    sizes = (f"{errors.median:.1%}", f"{errors.mean:.1%}")
    return sizes if short else (str(errors.n), *sizes, f"{errors.bias:+.1%}")


def _memory_lines(found: Evaluation) -> Iterator[Line]:
    rows = [(one.name[:44], *_cells(one.memory)) for one in found.sources if one.memory is not None]
    if not rows:
        return
    yield []
    yield [("bold", "memory")]
    yield from _table([("", "runs", "median", "mean", "bias"), *rows])


def _out_of_memory_lines(found: OutOfMemory) -> Iterator[Line]:
    """How many ran and ran out, by what was said of them; nothing where all fitted and were said to."""
    from plait.clusters.contest import RISK
    from plait.evaluation.out_of_memory import FLAGGED

    if not found.n and not found.ran["uncertain"] and not found.ran["runs_out"]:
        return
    yield []
    skipped = f", {found.skipped} of them in rows that were not predicted" if found.skipped else ""
    yield [
        ("bold", "out of memory"),
        ("dim", f"   {counted(found.n, 'run')} ran out{skipped}"),
    ]
    said = {"fits": f"fits: up to {RISK:.0%}", "uncertain": "uncertain", "runs_out": f"runs out: above {FLAGGED:.0%}"}
    counts = [(words, str(found.ran[name]), str(found.ran_out[name])) for name, words in said.items()]
    yield from _table([("predicted probability", "ran", "ran out"), *counts])
    yield [("", f"said to run out: {_found(found.flagged)}; {_found(found.certain)} without what is uncertain")]
    yield [("", f"refused by `plait plan`, above {RISK:.0%}: {_found(found.refused)}")]


def _found(found: Found) -> str:
    told = ("none" if part is None else f"{part:.0%}" for part in (found.precision, found.recall))
    return "precision {}, recall {}".format(*told)


def _group_lines(title: str, groups: Sequence[Group]) -> Iterator[Line]:
    compared = [(one, one.tau) for one in groups if one.tau is not None]
    if not compared:
        return
    taus, regrets = [tau for _, tau in compared], [one.regret for one, _ in compared]
    yield []
    few = f"the worst of {len(compared)} of {_COMPARED} plans or more"
    yield [("bold", title), ("dim", f"   {few}; median tau {median(taus):.2f}, mean regret {fmean(regrets):.1%}")]
    worst = sorted(compared, key=lambda pair: (pair[1], -pair[0].regret))[:_SHOWN]
    rows = [
        (f"{one.source[:30]}  {one.model[:22]}", str(one.n_gpus), str(one.n), f"{tau:.2f}", f"{one.regret:.1%}")
        for one, tau in worst
    ]
    yield from _table([("", "devices", "plans", "tau", "regret"), *rows])


def _skipped_lines(found: Evaluation) -> Iterator[Line]:
    reasons = Counter(one.skipped for one in found.skipped if one.skipped)
    if not found.judged:
        yield [("yellow", "the file names columns and has no row below them")]
    if repeated := sum(one.row.repeats is not None for one in found.judged):
        yield [("yellow", f"{counted(repeated, 'row')} with the very cells of an earlier line, counted once more")]
    if not reasons:
        return
    yield []
    yield [("yellow", f"{len(found.skipped)} of {len(found.judged)} rows were not predicted:")]
    for reason, count in reasons.most_common(_SHOWN):
        yield [("yellow", f"  {count:4} {reason}")]
    if len(reasons) > _SHOWN:
        yield [("dim", f"  and {len(reasons) - _SHOWN} reasons more (--json has them all)")]


def _unread_lines(found: Evaluation) -> Iterator[Line]:
    """What rows state in words that nobody knows."""
    words = Counter(one for judged in found.judged for one in judged.unread)
    if not words:
        return
    yield []
    yield [("yellow", "in words that are not known, and priced as if the cells were empty:")]
    yield from ([("yellow", f"  {count:4} {cell}")] for cell, count in words.most_common(_SHOWN))
    if len(words) > _SHOWN:
        yield [("dim", f"  and {len(words) - _SHOWN} more (--json has them all)")]


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[Line]:
    head, *others = columns(rows)
    yield [("dim", head)]
    yield from ([("", line)] for line in others)

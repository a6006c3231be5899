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
from plait.units import Seconds

if TYPE_CHECKING:
    from plait.evaluation.evaluate import Evaluation, Judged
    from plait.evaluation.groups import Group
    from plait.evaluation.scores import Errors

__all__ = ["command", "evaluation_document", "evaluation_lines"]

_SHOWN = 8  # groups, and reasons to skip a row
_FEW_ROWS = 20  # of which each is told
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
        "out_of_memory": {"n": found.out_of_memory, "precision": found.precision, "recall": found.recall},
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
    pair, memory = one.pair, one.memory_pair
    return {
        "case_id": one.row.case,
        "line": one.row.line,
        "predicted_iter_s": one.seconds,
        "interval": None if one.interval is None else list(one.interval),
        "error": None if pair is None else pair[0] / pair[1] - 1,
        "predicted_mem_gib": one.gibibytes,
        "memory_error": None if memory is None else memory[0] / memory[1] - 1,
        "out_of_memory_probability": one.runs_out,
        "assumed_links": sorted(one.assumed),
        "unread": list(one.unread),
        "skipped": one.skipped,
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
    measured, memory = one.row.number("iter_s"), one.memory_pair
    assert one.seconds is not None
    assert one.interval is not None
    assert one.gibibytes is not None
    low, high = map(Seconds, one.interval)
    return (
        one.row.case[:44] + (f" (its link {' and '.join(sorted(one.assumed))} assumed)" if one.assumed else ""),
        "" if measured is None else str(Seconds(measured)),
        str(Seconds(one.seconds)),
        f"{low} to {high}",
        "" if one.pair is None else difference(*one.pair),
        "" if memory is None else f"{memory[1]:.3g} GiB",
        f"{one.gibibytes:.3g} GiB",
    )


def _cells(errors: Errors | None, *, short: bool = False) -> tuple[str, ...]:
    if errors is None:
        return ("", "") if short else ("0", "", "", "")
    sizes = (f"{errors.median:.1%}", f"{errors.mean:.1%}")
    return sizes if short else (str(errors.n), *sizes, f"{errors.bias:+.1%}")


def _memory_lines(found: Evaluation) -> Iterator[Line]:
    rows = [(one.name[:44], *_cells(one.memory)) for one in found.sources if one.memory is not None]
    if not rows and not found.out_of_memory:
        return
    yield []
    yield [("bold", "memory")]
    yield from _table([("", "runs", "median", "mean", "bias"), *rows])
    recall = "none" if found.recall is None else f"{found.recall:.0%}"
    precision = "nothing was" if found.precision is None else f"{found.precision:.0%} of what was"
    yield [("", f"{found.out_of_memory} ran out of memory: {recall} of them predicted; {precision} predicted to did")]


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

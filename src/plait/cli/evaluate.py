"""`plait evaluate RUNS.csv`: how well does the planner predict these measured runs?

Row by row, source by source, and within groups of runs: of one model, and of one job, between whose plans a planner
chooses; always beside what one fitted constant would do. Exit 0 whatever the errors are: they are the answer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.cli.evaluated import evaluation_lines
from plait.cli.output import Answer, JsonFlag

if TYPE_CHECKING:
    from plait.evaluation.evaluate import Evaluation, Judged
    from plait.evaluation.groups import Group
    from plait.evaluation.out_of_memory import OutOfMemory
    from plait.evaluation.scores import Errors

__all__ = ["command", "evaluation_document"]


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
            "what": "one efficiency a source, fitted to the very rows; it predicts step times, and no memory",
            **_errors_document(found.constant),
            "sources": [
                {"source": one.name, "efficiency": one.efficiency, **_errors_document(one.constant)}
                for one in found.sources
            ],
            "memory": None,
            "out_of_memory": None,
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
    """What it has in common beside what was found; the constant's order beside the planner's."""
    return {
        "source": one.source,
        "model": one.model,
        "n_gpus": one.n_gpus,
        **one.job,
        "n": one.n,
        **asdict(one.predicted),
        "baseline": asdict(one.constant),
    }


def _row_document(one: Judged) -> dict[str, Any]:
    from plait.evaluation.out_of_memory import answer

    return {
        "case_id": one.row.case,
        "line": one.row.line,
        "repeats_line": one.row.repeats,
        "predicted_iter_s": one.seconds,
        "interval": None if one.interval is None else list(one.interval),
        "error": _error(one.pair),
        "baseline": {"predicted_iter_s": one.constant, "error": _error(one.constant_pair)},
        "predicted_mem_gib": one.gibibytes,
        "memory_error": _error(one.memory_pair),
        "out_of_memory_probability": one.runs_out,
        "out_of_memory_answer": None if one.runs_out is None else answer(one.runs_out),
        "ran_out_of_memory": one.ran_out,
        "assumed_links": sorted(one.assumed),
        "unread": list(one.unread),
        "skipped": one.skipped,
    }


def _error(pair: tuple[float, float] | None) -> float | None:
    return None if pair is None else pair[0] / pair[1] - 1


def _out_of_memory_document(found: OutOfMemory) -> dict[str, Any]:
    """The contract's precision and recall are of the runs that are said to run out; those of two other readings."""
    from plait.estimates.estimate import RISK
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

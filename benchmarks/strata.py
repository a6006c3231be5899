"""To which strata a job belongs, and a record of many jobs counted by stratum: what was tried, and how often.

Nothing is built yet of expert and context parallelism: they have one value, and so no stratum of jobs.
It knows jobs and plans as data, and lines of a record as dictionaries; it runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from plait.layers.dims import projected
from plait.plans.plan import Plan
from plait.plans.rows import microbatches_of, rounds_of, row_counts
from plait.sharding.boxes import copies, shares
from plait.specs.job import Job

__all__ = ["ALARMS", "FAILED", "strata", "table"]

FAILED = "FAILED"  # no verdict: a rank or verify itself raised
ALARMS = ("BUG", "NONFINITE", "NONDETERMINISTIC", FAILED)
_NAMES = {"learned": "GPT-2 names, learned positions", "rope": "Llama names, rope"}


def strata(job: Job, plan: Plan) -> dict[str, Any]:
    """The stratum of a job by each criterion; under "uneven" all that apply."""
    model, training = job.model, job.training
    axes = [axis for axis in ("data", "tensor", "pipeline") if getattr(plan, axis) > 1]
    count = rounds_of(plan, training.global_batch)
    return {
        "family": _NAMES[model.positions],
        "norm": model.norm,
        "activation": model.activation,
        "bias": model.bias,
        "tied": model.tie_embeddings,
        "dropout": model.dropout > 0,
        "precision": training.precision,
        "optimizer": training.optimizer,
        "clip": training.clip_norm > 0,
        "schedule": plan.schedule if plan.pipeline > 1 else "none",
        "microbatches": "fewer than stages" if count < plan.pipeline else "one" if count == 1 else "several",
        "sequence parallel": plan.sequence_parallel,
        "zero": plan.zero,
        "axes": " × ".join(axes) or "none",
        "ranks": plan.ranks,
        "uneven": _uneven(job, plan) or ["nothing"],
    }


def _uneven(job: Job, plan: Plan) -> list[str]:
    model, weights = job.model, plan.tensor_shares
    sizes = {
        "heads": _sizes(model.heads, weights),
        "vocab": _sizes(model.vocab, weights),
        "ffn": _sizes(model.ffn, weights),
        "sequence": _sizes(job.training.sequence_length, (1,) * plan.tensor) if plan.sequence_parallel else set(),
        "stages": set(plan.stages),
        "tensor_shares": set(weights),
        "rows": set(row_counts(plan, job.training.global_batch)),
        "microbatches": {len(sizes) for sizes in _microbatches(job, plan)},
        "last microbatch": {size for sizes in _microbatches(job, plan) for size in sizes},
    }
    found = [name for name, different in sizes.items() if len(different) > 1]
    return [*found, "copies of kv heads"] if copies(projected(model, joint=False)[1], weights) else found


def _microbatches(job: Job, plan: Plan) -> list[tuple[int, ...]]:
    """The sizes of each data rank's."""
    return [microbatches_of(plan, job.training.global_batch, rank) for rank in range(plan.data)]


def _sizes(units: int, weights: tuple[float, ...]) -> set[int]:
    return {stop - start for start, stop in shares(units, weights)}


def table(lines: Iterable[Mapping[str, Any]]) -> str:
    """The record counted by stratum, as a Markdown table under a sentence that sums it up."""
    known = list(lines)
    if not known:
        return "The record is empty."
    strata_of: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for line in known:
        for name, value in line["strata"].items():
            for each in value if isinstance(value, list) else [value]:
                strata_of.setdefault((name, _shown(each)), []).append(line)
    first = list(known[0]["strata"])
    found = sorted(strata_of.items(), key=lambda item: (first.index(item[0][0]), _by_number(item[0][1])))
    rows = [_row((name, value), members) for (name, value), members in found]
    head = [
        "| stratum | | jobs | false alarms | worst error (fp64 eps) | median seconds |",
        "|---|---|--:|--:|--:|--:|",
    ]
    return "\n".join([_sentence(known), "", *head, *rows])


def _sentence(lines: list[Mapping[str, Any]]) -> str:
    verdicts = [line["verdict"] for line in lines]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in sorted(set(verdicts)))
    trees = ", ".join(dict.fromkeys(line["tree"] for line in lines))
    seconds = median(line["seconds"] for line in lines)
    alarms = _alarms(lines)
    return f"{len(lines)} jobs, {alarms} alarms: {counts}; median {seconds:.2f} s a job; at {trees}."


def _row(names: tuple[str, str], members: list[Mapping[str, Any]]) -> str:
    worst = max((line["worst_eps"] for line in members), default=0.0)
    seconds = median(line["seconds"] for line in members)
    cells = (*names, len(members), _alarms(members), f"{worst:.3g}", f"{seconds:.2f}")
    return "| " + " | ".join(map(str, cells)) + " |"


def _alarms(lines: Iterable[Mapping[str, Any]]) -> int:
    return sum(line["verdict"] in ALARMS for line in lines)


def _shown(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _by_number(shown: str) -> tuple[int, str]:
    return (int(shown), "") if shown.isdigit() else (0, shown)

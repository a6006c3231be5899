"""Rows whose order can be compared, and how well predictions put them in order.

    by size    one source's runs of one model on as many devices: its plans, and whatever else was varied between runs
    by job     of these, the runs of one job: the same shape of model, batch, sequence, device and precision

A planner chooses between plans of one job, so that only the second kind says how good its choice is; in the first a
longer sequence or a faster device is most of the order. It knows pairs of seconds and what rows state, no price.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from plait.evaluation.rows import Row
from plait.evaluation.scores import kendall_tau, regret

__all__ = ["JOB", "Group", "groups_by_job", "groups_by_size"]

JOB = ("arch", "layers", "hidden", "heads", "kv_heads", "ffn", "vocab", "seq", "gbs", "gpu", "precision")
_Pair = tuple[float, float]  # predicted and measured seconds


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs of one source of one model on as many devices, of one `job` as far as that is asked: what their rows state
    of it, None where they state nothing. `n`: how many; `told_apart`: how many different seconds are predicted of
    them: fewer where a plan was run again, or nothing in a row tells two plans apart."""

    source: str
    model: str
    n_gpus: int
    job: Mapping[str, str | int | None]
    n: int
    told_apart: int
    tau: float | None
    regret: float


def groups_by_size(runs: Iterable[tuple[Row, _Pair]]) -> tuple[Group, ...]:
    """Groups of two runs or more, in the order of their first rows."""
    return _groups(runs, ())


def groups_by_job(runs: Iterable[tuple[Row, _Pair]]) -> tuple[Group, ...]:
    """The same of runs of one job."""
    return _groups(runs, JOB)


def _groups(runs: Iterable[tuple[Row, _Pair]], columns: tuple[str, ...]) -> tuple[Group, ...]:
    found: dict[tuple[str | int | None, ...], list[_Pair]] = defaultdict(list)
    first: dict[tuple[str | int | None, ...], Row] = {}
    for row, pair in runs:
        key = tuple(_stated(row, column) for column in ("source", "model", "n_gpus", *columns))
        first.setdefault(key, row)
        found[key].append(pair)
    return tuple(_group(first[key], columns, pairs) for key, pairs in found.items() if len(pairs) > 1)


def _group(row: Row, columns: tuple[str, ...], pairs: list[_Pair]) -> Group:
    return Group(
        source=row.texts.get("source", ""),
        model=row.texts.get("model", ""),
        n_gpus=row.whole("n_gpus") or 0,
        job={column: _stated(row, column) for column in columns},
        n=len(pairs),
        told_apart=len({predicted for predicted, _ in pairs}),
        tau=kendall_tau(pairs),
        regret=regret(pairs),
    )


def _stated(row: Row, column: str) -> str | int | None:
    return row.texts.get(column) or row.whole(column)

"""Rows whose order can be compared, and how well predictions put them in order.

    by size    one source's runs of one model on as many devices: its plans, and whatever else was varied between runs
    by job     of these, the runs of one job: the same shape of model, batch, sequence, device and precision

A planner chooses between plans of one job, so that only the second kind says how good its choice is; in the first a
longer sequence or a faster device is most of the order, which a constant has, too. Of one job a constant counts one
number of FLOPs, or two where some plans do their work again. It knows seconds and what rows state, no price.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from plait.evaluation.rows import Row
from plait.evaluation.scores import kendall_tau, regret

__all__ = ["JOB", "Compared", "Group", "Order", "groups_by_job", "groups_by_size"]

JOB = ("arch", "layers", "hidden", "heads", "kv_heads", "ffn", "vocab", "seq", "gbs", "gpu", "precision")


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A run: its `measured` seconds, those that are predicted of it, and those of the source's `constant`."""

    row: Row
    measured: float
    predicted: float
    constant: float


@dataclass(frozen=True, kw_only=True)
class Order:
    """How well predictions put runs in order. `told_apart`: how many different seconds are predicted of them: fewer
    where a plan was run again, or nothing in a row tells two plans apart."""

    told_apart: int
    tau: float | None
    regret: float


@dataclass(frozen=True, kw_only=True)
class Group:
    """`n` runs of one source of one model on as many devices, of one `job` as far as that is asked: what their rows
    state of it, None where they state nothing. Their order as it is `predicted`, and by the source's `constant`."""

    source: str
    model: str
    n_gpus: int
    job: Mapping[str, str | int | None]
    n: int
    predicted: Order
    constant: Order


def groups_by_size(runs: Iterable[Compared]) -> tuple[Group, ...]:
    """Groups of two runs or more, in the order of their first rows."""
    return _groups(runs, ())


def groups_by_job(runs: Iterable[Compared]) -> tuple[Group, ...]:
    """The same of runs of one job."""
    return _groups(runs, JOB)


def _groups(runs: Iterable[Compared], columns: tuple[str, ...]) -> tuple[Group, ...]:
    found: dict[tuple[str | int | None, ...], list[Compared]] = defaultdict(list)
    for run in runs:
        found[tuple(_stated(run.row, column) for column in ("source", "model", "n_gpus", *columns))].append(run)
    return tuple(_group(columns, several) for several in found.values() if len(several) > 1)


def _group(columns: tuple[str, ...], runs: list[Compared]) -> Group:
    row = runs[0].row
    return Group(
        source=row.texts.get("source", ""),
        model=row.texts.get("model", ""),
        n_gpus=row.whole("n_gpus") or 0,
        job={column: _stated(row, column) for column in columns},
        n=len(runs),
        predicted=_order([(run.predicted, run.measured) for run in runs]),
        constant=_order([(run.constant, run.measured) for run in runs]),
    )


def _order(pairs: list[tuple[float, float]]) -> Order:
    """Of (predicted, measured)."""
    return Order(told_apart=len({said for said, _ in pairs}), tau=kendall_tau(pairs), regret=regret(pairs))


def _stated(row: Row, column: str) -> str | int | None:
    return row.texts.get(column) or row.whole(column)

"""How well the planner predicts a file of measured runs: row by row, group by group, and beside a fitted constant."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from plait.estimates.constants import FITTED, Constants
from plait.estimates.estimate import CONTEXT, FRAGMENTED, Estimates, estimate
from plait.evaluation.groups import Compared, Group, groups_by_job, groups_by_size
from plait.evaluation.ideal import ideal_seconds
from plait.evaluation.out_of_memory import OutOfMemory, out_of_memory, ran_out
from plait.evaluation.reading import Run, Unreadable, read_run
from plait.evaluation.rows import Row, read_rows
from plait.evaluation.scores import Errors, errors_of, fitted_efficiency

__all__ = ["Evaluation", "Judged", "Source", "evaluate", "judge", "judge_run"]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A row and what was predicted of it; or `skipped`, why nothing was. `ideal`: seconds at the peak, and `constant`
    at the efficiency that fits the row's source best. `runs_out`: the predicted probability that memory is not enough;
    `ran_out`: whether that happened, if it is known. `assumed`: links that the row does not state. `unread`: what it
    states in words that are not known, and was priced as if it didn't."""

    row: Row
    seconds: float | None = None
    interval: tuple[float, float] | None = None
    gibibytes: float | None = None
    ideal: float | None = None
    constant: float | None = None
    runs_out: float | None = None
    ran_out: bool | None = None
    assumed: frozenset[str] = frozenset()
    unread: tuple[str, ...] = ()
    skipped: str | None = None

    @property
    def source(self) -> str:
        """Where its run comes from."""
        return self.row.texts.get("source", "")

    @property
    def pair(self) -> tuple[float, float] | None:
        """Predicted and measured seconds."""
        return self._measured(self.seconds, "iter_s")

    @property
    def constant_pair(self) -> tuple[float, float] | None:
        """Seconds by the fitted constant, and measured."""
        return self._measured(self.constant, "iter_s")

    @property
    def memory_pair(self) -> tuple[float, float] | None:
        """Predicted and measured GiB."""
        return self._measured(self.gibibytes, "mem_gib")

    def _measured(self, said: float | None, column: str) -> tuple[float, float] | None:
        found = self.row.number(column)
        return None if said is None or found is None else (said, found)


@dataclass(frozen=True, kw_only=True)
class Source:
    """The runs of one source. `efficiency`: of the constant that fits them best, and `constant` its errors."""

    name: str
    time: Errors | None
    memory: Errors | None
    efficiency: float | None
    constant: Errors | None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All of it; `groups` by model and devices, `same_job` of one job each. `constant`: errors of each source's own."""

    judged: tuple[Judged, ...]
    sources: tuple[Source, ...]
    groups: tuple[Group, ...]
    same_job: tuple[Group, ...]
    time: Errors | None
    memory: Errors | None
    constant: Errors | None
    out_of_memory: OutOfMemory
    within: float | None  # part of the measured times that lie within their interval

    @property
    def skipped(self) -> tuple[Judged, ...]:
        """Rows of which nothing was predicted."""
        return tuple(one for one in self.judged if one.skipped is not None)


def evaluate(path: Path, constants: Constants = FITTED) -> Evaluation:
    """Judge a file. Raises UnusableInput where it is no such file."""
    return _summed([judge(row, constants) for row in read_rows(path)])


def judge(row: Row, constants: Constants = FITTED) -> Judged:
    """Predict one row."""
    try:
        run = read_run(row)
        found = judge_run(row, replace(run, task=replace(run.task, constants=constants)))
    except Unreadable as reason:
        found = Judged(row=row, skipped=str(reason))
    except OverflowError:
        found = Judged(row=row, skipped="sizes whose products are too large to be counted")
    return replace(found, ran_out=ran_out(row))


def judge_run(row: Row, run: Run) -> Judged:
    """Predict the run that was read of a row."""
    found = estimate(run.task, run.plans)
    best = _likeliest(found)
    return Judged(
        row=row,
        seconds=float(found.times.step[best]),
        interval=(float(found.low[best]), float(found.high[best])),
        gibibytes=_as_measured(row, float(found.memory.total[best])) / 2**30,
        ideal=ideal_seconds(run.task, run.plans.rows(np.array([best]))),
        runs_out=float(found.out_of_memory[best]),
        assumed=run.assumed,
        unread=run.unread,
    )


def _likeliest(found: Estimates) -> int:
    """Of the plans that a row may speak of: the fastest that fits, or the smallest."""
    fitting = found.out_of_memory < 0.5
    if not fitting.any():
        return int(np.argmin(found.memory.total))
    return int(np.argmin(np.where(fitting, found.times.step, np.inf)))


def _as_measured(row: Row, allocated: float) -> float:
    """Bytes as the row's kind of memory counts them: what is allocated, reserved, or taken in all."""
    kind = row.text("mem_kind")
    if re.search(r"smi|device|total", kind):
        return allocated * (1 + FRAGMENTED) + CONTEXT
    if "reserved" in kind and "allocated" not in kind.split("reserved")[0]:
        return allocated * (1 + FRAGMENTED) + CONTEXT / 3  # PyTorch's own part of it
    return allocated


def _summed(judged: Sequence[Judged]) -> Evaluation:
    efficiencies = {name: _efficiency(rows) for name, rows in _by_source(judged).items()}
    judged = [_beside_constant(one, efficiencies[one.source]) for one in judged]
    compared = [
        Compared(row=one.row, measured=pair[1], predicted=pair[0], constant=one.constant)
        for one in judged
        if (pair := one.pair) and one.constant is not None
    ]
    inside = [one.interval[0] <= pair[1] <= one.interval[1] for one in judged if one.interval and (pair := one.pair)]
    return Evaluation(
        judged=tuple(judged),
        sources=tuple(_source(name, rows, efficiencies[name]) for name, rows in _by_source(judged).items()),
        groups=groups_by_size(compared),
        same_job=groups_by_job(compared),
        time=errors_of([pair for one in judged if (pair := one.pair)]),
        memory=errors_of([pair for one in judged if (pair := one.memory_pair)]),
        constant=errors_of([pair for one in judged if (pair := one.constant_pair)]),
        out_of_memory=out_of_memory([(one.runs_out, one.ran_out) for one in judged]),
        within=sum(inside) / len(inside) if inside else None,
    )


def _by_source(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    found: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        found[one.source].append(one)
    return found


def _efficiency(rows: Sequence[Judged]) -> float | None:
    """The constant that fits a source's runs best."""
    return fitted_efficiency([(one.ideal, pair[1]) for one in rows if one.ideal is not None and (pair := one.pair)])


def _beside_constant(one: Judged, efficiency: float | None) -> Judged:
    return one if efficiency is None or one.ideal is None else replace(one, constant=one.ideal / efficiency)


def _source(name: str, rows: Sequence[Judged], efficiency: float | None) -> Source:
    return Source(
        name=name,
        time=errors_of([pair for one in rows if (pair := one.pair)]),
        memory=errors_of([pair for one in rows if (pair := one.memory_pair)]),
        efficiency=efficiency,
        constant=errors_of([pair for one in rows if (pair := one.constant_pair)]),
    )

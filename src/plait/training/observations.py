"""What a run or a bench on disk measured, read back: of each of its plans the terms; and on what machine, when.

It knows the files that `trainer` and `bench_run` leave, and nothing of what follows from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plait.errors import IllegalJob, UnusableInput
from plait.plans.files import read_plan
from plait.plans.legality import plan_problems
from plait.plans.plan import Plan
from plait.plans.planned import require_this_machine
from plait.specs.files import read_job
from plait.specs.job import Job
from plait.specs.tables import with_tuples
from plait.training.measures import known_median
from plait.training.result import Measured, measured_from_table
from plait.training.run_directory import RunDirectory

__all__ = ["Observations", "observations"]

_KEYS = (
    "step_seconds",
    "compute",
    "bubble",
    "optimizer",
    "exposed",
    "memory_bytes",
    "stages",
    "transfers",
    "other_cores",
)


@dataclass(frozen=True, kw_only=True)
class Observations:
    """`plans`: what was measured of each; `processor` and `cores` of the machine, of which other programs kept
    `other_cores` busy, where that is known; `date` as the run wrote it."""

    job: Job
    plans: tuple[tuple[Plan, Measured], ...]
    processor: str
    cores: int
    date: str
    other_cores: float | None = None


def observations(path: Path) -> Observations:
    """What the run or the bench in a directory measured. Raises UnusableInput naming the file that can't be used, or
    where nothing was measured, or what can't have been; IllegalJob for a job or a plan that is none."""
    run = RunDirectory(path)
    job = read_job(run.job)
    require_this_machine(job)
    source = run.bench if run.bench.exists() else run.measured
    try:
        table: Mapping[str, Any] = json.loads(source.read_text(encoding="utf-8"))
        if source == run.bench:
            plans = [(Plan(**with_tuples(one["plan"])), _measured(one["measured"])) for one in table["plans"]]
        else:
            plans = [(read_plan(run.plan, job).plan, _measured(table))]
        machine = table["machine"]
        found = Observations(
            job=job, plans=tuple(plans), processor=str(machine["processor"]), cores=int(machine["cores"]),
            date=str(table.get("date", "")), other_cores=known_median([one.other_cores for _, one in plans]),
        )  # fmt: skip
    except OSError as error:
        raise UnusableInput(f"{source} can't be read: {error.strerror or error}; has the run ended?") from error
    except KeyError as error:
        raise UnusableInput(f"{source} is not what a run leaves: it has no {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise UnusableInput(f"{source} is not what a run leaves: {error}") from error
    if not plans:
        raise UnusableInput(f"{source}: no plan was measured")
    if wrong := [problem for plan, _ in plans for problem in plan_problems(job, plan)]:
        raise IllegalJob(wrong)
    return found


def _measured(table: Mapping[str, Any]) -> Measured:
    return measured_from_table({key: table[key] for key in _KEYS if key in table})

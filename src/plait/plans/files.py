"""Plan files: what `plait plan` writes, a person reads and edits, and every `--plan` takes.

    # 4 ranks: 2 replicas of a pipeline of 2 stages ...      the plan in words
    [plan]                                                   every key of the job's [plan], chosen
    [prediction]                                             what was said of it, if anything; and under it a seal

A key that somebody took out is filled in as in a job that leaves it open, the same wherever the file is read; commands
say which. A bad key is refused as in a job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import tomli_w

from plait.errors import IllegalJob, Problem, UnusableInput
from plait.plans.completion import complete, left_open, with_most_ranks
from plait.plans.describe import describe
from plait.plans.plan import Plan
from plait.plans.prediction import Prediction, prediction_from_table, prediction_table
from plait.plans.seal import sealed
from plait.specs.border import sift
from plait.specs.files import read_table
from plait.specs.grids import with_grid
from plait.specs.job import Job
from plait.specs.tables import known_keys, with_lists, with_tuples
from plait.specs.whole_files import write_whole
from plait.specs.wording import nearest

__all__ = ["PlanFile", "plan_table", "read_plan", "write_plan"]

_TABLES = ("plan", "prediction")


@dataclass(frozen=True, kw_only=True)
class PlanFile:
    """A plan, and what was predicted of it when it was written. `left_open`: what the file leaves open of it, with what
    was taken (`completion.left_open`)."""

    plan: Plan
    prediction: Prediction | None = None
    left_open: Mapping[str, Any] = field(default_factory=dict[str, Any])


def plan_table(plan: Plan) -> dict[str, Any]:
    """The plan as a table, ready for TOML or JSON: every key of `[plan]`."""
    return with_lists(vars(plan))


def write_plan(path: str | PathLike[str], plan: Plan, prediction: Prediction | None = None) -> None:
    """Write the file whole or not at all, sealed where it has a prediction; raises UnusableInput where nothing can be
    written."""
    tables = {"plan": plan_table(plan)}
    if prediction is not None:
        tables["prediction"] = prediction_table(prediction)
    words = "".join(f"# {line}\n" for line in describe(plan).splitlines())
    text = f"{words}\n{tomli_w.dumps(tables, multiline_strings=True)}"
    try:
        write_whole(Path(path), text if prediction is None else sealed(text))
    except OSError as error:
        raise UnusableInput(f"the plan can't be written to {path}: {error.strerror or error}") from error


def read_plan(path: str | PathLike[str], job: Job) -> PlanFile:
    """The plan in a file, for this job's model, batch and ranks; what the job fixes in its own `[plan]` is set aside.
    Ranks that the job left open are the file's to choose.

    Raises UnusableInput if the file is no TOML or its prediction is malformed, IllegalJob with every problem of its
    keys, or of the plan that they make.
    """
    tables = read_table(path)
    problems = list(_strangers(tables))
    here = not job.cluster.elsewhere
    sifted = sift({"plan": tables["plan"]} if "plan" in tables else {}, here=here)
    problems += sifted.problems
    if problems:
        raise IllegalJob(problems)
    given = with_grid(with_tuples(sifted.values["plan"]))
    asked = replace(job, constraints=given)
    plan = complete(with_most_ranks(asked) if job.cluster.ranks_open else asked)
    predicted = tables.get("prediction")
    return PlanFile(
        plan=plan,
        prediction=None if predicted is None else prediction_from_table(predicted),
        left_open=left_open(given, plan, here=here),
    )


def _strangers(tables: Mapping[str, Any]) -> list[Problem]:
    """Top-level keys that no plan file has, and the one that each must have: that alone, where its header is missing
    and its keys stand above all tables."""
    missing = Problem(key="plan", message="there is no [plan]", legal="the keys of a job's [plan]")
    bare = [name for name in known_keys("plan") if name in tables and not isinstance(tables[name], dict)]
    if "plan" not in tables and bare:
        return [replace(missing, message=f"there is no [plan] above {', '.join(bare)}", legal="[plan] before them")]
    found = [
        Problem(key=name, message=f"unknown key; the nearest known key is {close[0]}", legal=close)
        for name in tables
        if name not in _TABLES and (close := nearest(name, _TABLES))
    ]
    if "plan" not in tables:
        found.append(missing)
    return found

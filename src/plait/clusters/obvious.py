"""The plans that come to mind beside the best one, each with why it lost: the best with one thing changed.

    replicas alone      tensor as wide as a node, and twice      a deeper pipeline, a flatter one
    every ZeRO level    every way to compute again               a larger microbatch, a smaller one

What the job fixes is kept, so that nothing is offered that the user has ruled out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from plait.clusters.explain import too_large, why_it_lost
from plait.clusters.played import Played, played
from plait.clusters.rules import legal
from plait.clusters.search import Found, plan_of
from plait.estimates.arrangements import Arrangements
from plait.estimates.estimate import RISK
from plait.estimates.task import Task
from plait.planner.reasons import Obvious
from plait.planner.remedies import may_run_out
from plait.plans.plan import Plan
from plait.specs.job import Job

__all__ = ["obvious_plans"]


def obvious_plans(job: Job, task: Task, searched: Found) -> tuple[Obvious, ...]:
    """Those of a job on equal machines, beside the best plan that was found, and by the same limit of memory."""
    best = searched.plans[0]
    seen, found = {_shape(best.plan)}, list[Obvious]()
    for name, keys in _changes(best.plan, task.machines.devices_per_node):
        plan = _changed(job, task, best.plan, keys)
        if plan is None or _shape(plan) in seen:
            continue
        seen.add(_shape(plan))
        one = played(plan, task)
        fits = one.risk <= searched.limit
        reason = _why_it_lost(one, best) if fits else too_large(one, [task])
        found.append(Obvious(name=name, why=reason, plan=plan, step_seconds=one.seconds if fits else None))
    return tuple(found)


def _why_it_lost(one: Played, best: Played) -> str:
    reason = why_it_lost(one, best)
    return reason if one.risk <= RISK else f"{reason}; it {may_run_out(one.risk)}"


def _changes(best: Plan, node: int) -> Iterator[tuple[str, dict[str, Any]]]:
    alone = {"tensor": 1, "pipeline": 1, "context": 1, "expert": 1}
    yield "replicas alone", alone | {"zero": 0}
    yield "replicas alone, ZeRO 3", alone | {"zero": 3}
    for wide in dict.fromkeys((1, node, 2 * node)):
        yield f"tensor {wide}", {"tensor": wide, "sequence_parallel": wide > 1}
    for deep in dict.fromkeys((1, best.pipeline // 2, best.pipeline * 2)):
        yield f"pipeline {deep}", {"pipeline": deep}
    if best.context > 1:
        yield "context 1", {"context": 1}
    for schedule in ("1f1b", "gpipe", "zb-h1"):
        yield f"schedule {schedule}", {"schedule": schedule, "virtual_stages": 1}
    for level in range(4):
        yield f"ZeRO {level}", {"zero": level}
    for again in ("none", "selective", "full"):
        yield f"{again} recompute" if again != "none" else "nothing computed again", {"recompute": again}
    for size in (2 * best.microbatch, best.microbatch // 2):
        yield f"microbatch {size}", {"microbatch": size}
    yield "without sequence parallelism", {"sequence_parallel": False}


def _changed(job: Job, task: Task, best: Plan, keys: dict[str, Any]) -> Plan | None:
    """None where the job fixes something else, or it is not legal."""
    keys = {**{name: getattr(best, name) for name in (*_NUMBERS, *_WORDS)}, **keys}
    if min(keys["tensor"], keys["pipeline"], keys["microbatch"]) < 1:
        return None
    keys["data"], left = divmod(best.ranks, keys["tensor"] * keys["pipeline"] * keys["context"])
    if left or not keys["data"]:
        return None
    if keys["pipeline"] == 1:
        keys |= {"schedule": "1f1b", "virtual_stages": 1}
    keys["zero"] = keys["zero"] if keys["data"] > 1 else 0
    keys["microbatch"] = min(keys["microbatch"], -(-job.training.global_batch // keys["data"]))
    if any(job.constraints.get(key, value) != value for key, value in keys.items()):
        return None
    sizes = {"stages": (1,), "tensor_shares": (1,), "data_shares": (1,)}  # which a row does not have
    row = Arrangements.of_plans([replace(best, **{**keys, **sizes})])
    even = job.model.heads % keys["tensor"] == 0 or "tensor" in job.constraints
    return plan_of(job, task, row) if even and bool(np.all(legal(job, row))) else None


_NUMBERS = ("tensor", "pipeline", "context", "expert", "microbatch", "virtual_stages", "zero")
_WORDS = ("schedule", "recompute", "sequence_parallel")


def _shape(plan: Plan) -> tuple[object, ...]:
    return tuple(getattr(plan, name) for name in ("data", *_NUMBERS, *_WORDS))

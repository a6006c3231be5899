"""What four ranks do, one plan after another in one start of theirs: on two hosts under torchrun, or in a pool here.

    perform(place, tokens, tables, names)      `place`/NAME has the weights that each form ends with; losses are emitted

Training is `plait train`'s own (`training.rank_trainer`); the ledger asks an asynchronous server what it applied when.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plait.collectives import process_groups
from plait.launchers import emit
from plait.plans.completion import complete
from plait.specs.files import job_from_table
from plait.training.rank_trainer import Assignment, train_on_rank
from tests.parallel.served import keep_ledger
from tests.parallel.test_parameter_server import plan as served_plan

__all__ = ["FORMS", "LEDGER", "RANKS", "Form", "H", "perform", "perform_over_gloo", "perform_with_ledger"]

RANKS, H = 4, 4
LEDGER = (2, 4)  # rounds, and steps of each
_NAPS = (0.02, 0.001, 0.001, 0.001)


@dataclass(frozen=True, kw_only=True)
class Form:
    """Keys of `[plan]`, and of `[training]`. Plain SGD: what a step adds to a weight is its gradient, clipped."""

    plan: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)


_PERIODS = {"steps": 2 * H + 1, "validate_every": 100}  # a meeting that arrives late, one that does while it ends
FORMS: Mapping[str, Form] = {
    "one rank": Form(plan={"data": 1}),
    "tp2 x dp2": Form(plan={"tensor": 2, "data": 2}),
    "pp2 x tp2": Form(plan={"pipeline": 2, "tensor": 2, "microbatch": 1}),
    "ZeRO 1": Form(plan={"data": 4, "zero": 1}),
    "ZeRO 3": Form(plan={"data": 4, "zero": 3}),
    "a server": Form(plan={"data": 4, "synchronisation": "parameter-server"}),
    "int8": Form(plan={"data": 4, "compression": "int8"}),
    "DiLoCo": Form(plan={"data": 4, "synchronisation": "diloco", "local_steps": H}, training=_PERIODS),
    "DiLoCo, int8": Form(
        plan={"data": 4, "synchronisation": "diloco", "local_steps": H, "compression": "int8"}, training=_PERIODS
    ),
    "a server that is not to wait": Form(
        plan={"data": 4, "synchronisation": "parameter-server", "staleness": 1},
        training={"steps": 12, "validate_every": 100, "learning_rate": 0.3, "betas": [0.0, 0.95]},
    ),
}


def perform(place: str, tokens: str, tables: Mapping[str, Any], names: Sequence[str]) -> None:
    """On every rank: train each of these forms, of the job in `tables`."""
    for name in names:
        form = FORMS[name]
        plan = {"data": 1, "tensor": 1, "pipeline": 1, **form.plan}
        ranks = plan["data"] * plan["tensor"] * plan["pipeline"]
        changed = {"training": {**tables["training"], **form.training}, "cluster": {"ranks": ranks}, "plan": plan}
        job = job_from_table({**tables, **changed})
        weights = Path(place) / name
        weights.mkdir(exist_ok=True)
        emit({"event": "form", "name": name})
        train_on_rank(Assignment(job=job, plan=complete(job), weights=weights, tokens=Path(tokens)))


def perform_with_ledger(*asked: Any) -> dict[str, Any]:
    """The same; and what this rank has seen of a server that applies portions as they come."""
    perform(*asked)
    kept = keep_ledger(served_plan(RANKS, 0, staleness=1), *LEDGER, _NAPS)
    return {"taken": kept.taken, "totals": kept.totals}


def perform_over_gloo(*asked: Any) -> None:
    """As `perform`, in a pool here, whose ranks take each other for ranks of other hosts."""
    os.environ["PLAIT_SHARED_MEMORY"] = "0"
    process_groups._made.clear()
    try:
        perform(*asked)
    finally:
        del os.environ["PLAIT_SHARED_MEMORY"]
        process_groups._made.clear()

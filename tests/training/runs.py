"""Small runs: a model of 16 features that learns six steps of bytes, on ranks that the session's zygote forks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from plait.launchers import ranks_for
from plait.plans.completion import complete
from plait.plans.plan import Plan
from plait.specs.files import job_from_table
from plait.specs.job import Job
from tests.planner.machines import machine

_FP32 = machine(cores=2, dispatch=2e-6)
MACHINE = replace(_FP32, gemm=tuple(replace(_FP32.gemm[0], dtype=dtype) for dtype in ("fp32", "bf16", "fp64")))
STEPS, BATCH, LENGTH = 6, 4, 16


def tables(place: Path, **changes: Any) -> dict[str, Any]:
    """The job as tables, its text in `place`; `training={...}` changes keys of a table."""
    text = place / "text.txt"
    if not text.exists():
        text.write_text("".join(f"line {i} of {i * i % 97}: the quick brown fox\n" for i in range(120)))
    job: dict[str, Any] = {
        "model": {"layers": 2, "hidden": 16, "heads": 2, "vocab": 256},
        "data": {"text": str(text), "tokenizer": "bytes", "validation_fraction": 0.1},
        "training": {
            "steps": STEPS, "global_batch": BATCH, "sequence_length": LENGTH, "warmup_steps": 2, "validate_every": 4,
            "learning_rate": 1e-2,
        },
        "cluster": {"ranks": 1},
        "plan": {},
    }  # fmt: skip
    return {name: table | changes.get(name, {}) for name, table in job.items()}


def tiny(place: Path, **changes: Any) -> tuple[Job, Plan]:
    """The job, and what it fixes of a plan, completed."""
    job = job_from_table(tables(place, **changes))
    return job, complete(job)


@contextmanager
def forked(rank_pools: Any, place: Path) -> Iterator[pytest.MonkeyPatch]:
    """Within, training forks its ranks from the session's zygote, and keeps its tokens in `place`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plait.training.trainer.ranks_for", partial(ranks_for, starter=rank_pools.starter))
        patch.setenv("PLAIT_CACHE", str(place / "cache"))
        yield patch


def strict(text: str) -> Any:
    """JSON as everybody reads it: without NaN and Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)

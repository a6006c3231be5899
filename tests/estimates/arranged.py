"""Arrangements, machines and tasks that the tests of this room share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from plait.estimates.arrangements import RECOMPUTE, SCHEDULES, Arrangements
from plait.estimates.task import Task
from plait.specs.catalogue import between_named, device_named, inside_named
from plait.specs.machines import Machines
from plait.specs.model import ModelSpec

GPT = ModelSpec(layers=24, hidden=2048, heads=16, kv_heads=16, ffn=8192, vocab=51200, max_positions=2048)


def machines(device: str = "a100-80gb", nodes: int = 4, each: int = 8) -> Machines:
    """Equal hosts of the catalogue."""
    found = device_named(device)
    assert found is not None
    inside, between = inside_named(found.inside), between_named(found.between)
    assert inside is not None
    assert between is not None
    return Machines(
        first_rank=0, nodes=nodes, devices_per_node=each, device=found, inside=inside, between=between,
        price_per_hour=None, power_watts=None,
    )  # fmt: skip


def task(model: ModelSpec = GPT, batch: int = 256, **keys: object) -> Task:
    """Training this model on these machines."""
    made = Task(model=model, global_batch=batch, sequence=2048, machines=machines())
    return replace(made, **keys)  # type: ignore[arg-type]


def arranged(rows: int = 1, **keys: int | str | bool | list[int]) -> Arrangements:
    """Plans that differ from one device in these keys."""
    words = {"schedule": SCHEDULES, "recompute": RECOMPUTE}
    usual: dict[str, int | str | bool | list[int]] = {
        "data": 1, "tensor": 1, "pipeline": 1, "context": 1, "expert": 1, "microbatch": 1, "schedule": "1f1b",
        "virtual_stages": 1, "zero": 0, "recompute": "none", "sequence_parallel": False, "offload": False,
    }  # fmt: skip
    columns = {}
    for key, value in {**usual, **keys}.items():
        number = words[key].index(value) if isinstance(value, str) else value
        kind = np.bool_ if key in ("sequence_parallel", "offload") else np.int64
        columns[key] = np.array(number if isinstance(number, list) else [number] * rows, dtype=kind)
    return Arrangements(**columns)

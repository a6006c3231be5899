"""Small jobs on machines of the catalogue."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from plait.api import load
from plait.specs.cluster import ClusterSpec, GroupSpec
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from plait.specs.training import DataSpec, TrainingSpec

SMALL = ModelSpec(layers=8, hidden=1024, heads=16, kv_heads=16, ffn=4096, vocab=32000, max_positions=1024)


EXAMPLES = Path(__file__).parents[2] / "examples" / "jobs"


def on_rtx_4090(nodes: int, **plan: Any) -> Job:
    """Llama 3 70B on so many hosts of four RTX 4090: on 16 its best plan may run out of memory."""
    asked = load(EXAMPLES / "llama3_70b_rtx4090.toml")
    cluster = replace(asked.cluster, nodes=nodes, ranks=4 * nodes)
    return replace(asked, cluster=cluster, constraints=asked.constraints | plan)


def job(
    ranks: int = 16, model: ModelSpec = SMALL, batch: int = 32, device: str = "a100-80gb", each: int = 8, **plan: Any
) -> Job:
    """Training this model on equal machines."""
    cluster = ClusterSpec(device=device, nodes=max(1, ranks // each), devices_per_node=min(each, ranks), ranks=ranks)
    training = TrainingSpec(global_batch=batch, sequence_length=1024, precision="bf16")
    return Job(model=model, data=DataSpec(), training=training, cluster=cluster, constraints=plan)


def unequal(**plan: Any) -> Job:
    """Four fast devices and four slow ones."""
    groups = tuple(GroupSpec(device=name, devices_per_node=4) for name in ("h100-80gb", "a100-80gb"))
    training = TrainingSpec(global_batch=64, sequence_length=1024, precision="bf16")
    cluster = ClusterSpec(groups=groups, ranks=8)
    return Job(model=SMALL, data=DataSpec(), training=training, cluster=cluster, constraints=plan)

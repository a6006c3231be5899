"""Writing: each rank its own boxes to its own file, then, when all are down, one rank the manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from plait.checkpoint.manifest import plan_manifest, stored_boxes
from plait.layers.layer import Layer
from plait.plans.plan import Plan

__all__ = ["save_weights"]


def save_weights(
    directory: Path,
    weights: Mapping[str, torch.Tensor],
    layers: Sequence[Layer],
    plan: Plan,
    rank: int,
    *,
    step: int,
    barrier: Callable[[], object],
) -> None:
    """Save local `weights` so that any plan can read them; every rank calls it. Raises OSError (a full disk)."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {
        place.key: weights[box.name].detach().narrow(box.dim, box.local[0], box.local[1] - box.local[0]).contiguous()
        for box, place in stored_boxes(layers, plan, rank)
    }
    if tensors:
        partial = directory / f"rank-{rank}.partial"
        save_file(tensors, partial)
        partial.replace(directory / f"rank-{rank}.safetensors")
    barrier()
    if rank == 0:
        dtype = str(next(iter(weights.values())).dtype).removeprefix("torch.")
        plan_manifest(layers, plan, step=step, dtype=dtype).write(directory)

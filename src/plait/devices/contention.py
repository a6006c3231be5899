"""What ranks that work at once cost each other, timed from inside them: one alone, then as many as there are cores.

rank 0    product  copy   │ product  copy
rank 1     waits          │ product  copy        together / alone: 1 is "lose nothing"
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed as dist

from plait.devices.device import Device, rank_device
from plait.devices.grid import Grid
from plait.devices.timing import median_seconds
from plait.specs.measurements import Contention

__all__ = ["ContentionReport", "measure_contention"]

_SIDE = 384


@dataclass(frozen=True, kw_only=True)
class ContentionReport:
    """How much slower `contention.ranks` at once are than one, and the bytes a second that they copy in all."""

    contention: Contention
    memory_bandwidth: float


def measure_contention(grid: Grid, workers: int) -> ContentionReport:
    """Time a product, and a copy of `grid.copied_bytes`, on rank 0, then on the first `workers`. All ranks call it."""
    device = rank_device()
    factor = torch.zeros(_SIDE, _SIDE, device=device.torch)
    source = torch.ones(grid.copied_bytes // 4, device=device.torch)
    cases = {"gemm": partial(torch.mm, factor, factor), "memory": partial(torch.empty_like(source).copy_, source)}
    found: dict[int, torch.Tensor] = {}
    for busy in (1, workers):
        dist.barrier()
        taken = [0.0, 0.0]
        if dist.get_rank() < busy:
            seconds = median_seconds(cases, budget=grid.contention_seconds, device=device)
            taken = [seconds["gemm"], seconds["memory"]]
        found[busy] = _gathered(taken, device)[:busy]  # (busy ranks, product and copy)
    alone, together = found[1][0], found[workers]
    gemm, memory = (together.amax(0) / alone).tolist()
    return ContentionReport(
        contention=Contention(ranks=workers, gemm=gemm, memory=memory),
        memory_bandwidth=float((2 * source.nbytes / together[:, 1]).sum()),
    )


def _gathered(values: list[float], device: Device) -> torch.Tensor:
    """(ranks, values)"""
    own = torch.tensor(values, dtype=torch.float64, device=device.torch)
    rows = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, own)
    return torch.stack(rows).cpu()

"""What ranks that work at once cost each other, timed from inside them: one alone, then as many as there are cores.

rank 0    product  copies   │ product  copies  │  again, some times
rank 1     waits            │ product  copies  │             together / alone: 1 is "lose nothing"

The two are timed one right after the other, turn after turn, and the middle turn counts: a machine's slow moment, which
may last as long as a turn and make it seem twice as slow, is of one turn or two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
import torch.distributed as dist

from plait.devices.device import Device, rank_device
from plait.devices.grid import Grid
from plait.devices.timing import median_seconds
from plait.specs.measurements import Contention

__all__ = ["ContentionReport", "measure_contention"]

_SIDE = 384
_TURNS = 7
_CACHED_BYTES = 2**19


@dataclass(frozen=True, kw_only=True)
class ContentionReport:
    """How much slower `contention.ranks` at once are than one, and the bytes a second that they copy in all."""

    contention: Contention
    memory_bandwidth: float


def measure_contention(grid: Grid, workers: int) -> ContentionReport:
    """Time a product, a copy of `grid.copied_bytes`, and one that caches hold, each by itself, on rank 0, then on the
    first `workers`. All ranks call it."""
    device = rank_device()
    factor = torch.zeros(_SIDE, _SIDE, device=device.torch)
    source, small = (torch.ones(count // 4, device=device.torch) for count in (grid.copied_bytes, _CACHED_BYTES))
    cases: dict[str, Callable[[], object]] = {
        "gemm": partial(torch.mm, factor, factor),
        "memory": partial(torch.empty_like(source).copy_, source),
        "cached": partial(torch.mul, small, 1.5),
    }
    budget = grid.contention_seconds / _TURNS / len(cases)
    turns: dict[int, list[torch.Tensor]] = {1: [], workers: []}
    for _, (busy, found) in product(range(_TURNS), turns.items()):
        dist.barrier()
        taken = [0.0] * len(cases)
        if dist.get_rank() < busy:  # each by itself: a large copy leaves the others no cache
            taken = [median_seconds({name: case}, budget=budget, device=device)[name] for name, case in cases.items()]
        found.append(_gathered(taken, device)[:busy])  # (busy ranks, cases)
    alone, together = torch.stack(turns[1])[:, 0], torch.stack(turns[workers])  # of each turn
    ratios = (together.amax(1) / alone).median(0).values.tolist()
    copies = together[:, :, list(cases).index("memory")].median(0).values
    return ContentionReport(
        contention=Contention(ranks=workers, **dict(zip(cases, ratios, strict=True))),
        memory_bandwidth=float((2 * source.nbytes / copies).sum()),
    )


def _gathered(values: list[float], device: Device) -> torch.Tensor:
    """(ranks, values)"""
    own = torch.tensor(values, dtype=torch.float64, device=device.torch)
    rows = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, own)
    return torch.stack(rows).cpu()

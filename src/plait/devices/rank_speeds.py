"""How fast each rank multiplies while all do, beside the first: ranks of one plan need not stand on like devices.

rank 0    │ product product ...  │ product product ...  │ ...       1
rank 1    │ product     product  │ product     product  │ ...       0.6: its fastest turn beside rank 0's

All begin a turn together. A rank that something else holds up is slow in one turn or two, one on a slower device in
all, so that each is taken at its fastest. Clocked as operations are (`timing`): on one thread of a CPU by what the
thread itself takes, so that sharing a core makes nobody slower, and neither does a limit on a process's share of one.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.distributed as dist

from plait.devices.device import dtype_of, rank_device
from plait.devices.grid import Grid
from plait.devices.timing import median_seconds

__all__ = ["measure_speeds"]

_TURNS = 5
_SIDE = 384  # of the matrices on a CPU
_ACCELERATOR_SIDE = 4096  # where a smaller product would time who launches it


def measure_speeds(grid: Grid) -> tuple[float, ...]:
    """Of each rank, the first one's 1; takes `grid.contention_seconds`. All ranks call it, and get the same."""
    device = rank_device()
    side, dtype = (_ACCELERATOR_SIDE, "bf16") if device.is_accelerator else (_SIDE, "fp32")
    factor = torch.randn(side, side, device=device.torch).to(dtype_of(dtype))
    cases = {"product": partial(torch.mm, factor, factor)}
    fastest = float("inf")
    for _ in range(_TURNS):
        dist.barrier()
        seconds = median_seconds(cases, budget=grid.contention_seconds / _TURNS, device=device)
        fastest = min(fastest, seconds["product"])
    own = torch.tensor([fastest], dtype=torch.float64, device=device.torch)
    all_ranks = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(all_ranks, own)
    return tuple((all_ranks[0] / torch.cat(all_ranks)).tolist())

"""The profile of several hosts: the processes that torchrun has started are the ranks whose links are timed.

    rank 0   operations, one after the other ──► links of its own host ──► links between hosts ──► told to all
    others   take part where they are asked

It knows what the ranks of a profile send each other; what is measured stands in `devices.benchmark` and `links`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from plait.collectives.links import LinkReport, measure_links
from plait.devices.benchmark import measure_machine, on_first_rank
from plait.devices.contention import ContentionReport, measure_contention
from plait.devices.device import current_device
from plait.devices.grid import Grid
from plait.devices.rank_speeds import measure_speeds
from plait.launchers import World, led
from plait.specs.links import Link, Overlap, Transfer
from plait.specs.measurements import (
    Attention,
    Contention,
    Dispatch,
    Gemm,
    Host,
    Measurements,
    MemoryBound,
    Optimizer,
    SmallBlock,
)

__all__ = ["profiled_on"]

_TASKS = (on_first_rank, measure_contention, measure_speeds, measure_links)
_PARTS = (Measurements, Attention, SmallBlock, Contention, Dispatch, Gemm, Host, MemoryBound, Optimizer)
_CLASSES = (Grid, LinkReport, ContentionReport, Link, Overlap, Transfer, *_PARTS)


def profiled_on(world: World, grid: Grid | None, tell: Callable[[str], None], patience: float) -> Measurements:
    """What is measured, on every process of the world; all call it. `tell` is for rank 0. Raises as `led` does."""

    def program(run: Callable[..., list[Any]]) -> Measurements:
        ranks = partial(run, world.size)
        hosts = world.hosts if len(world.hosts) > 1 else ()
        return measure_machine(ranks, world.size, measure_links, hosts=hosts, grid=grid, tell=tell)

    return led(world, program, tasks=_TASKS, classes=_CLASSES, backend=current_device().backend, timeout=patience)

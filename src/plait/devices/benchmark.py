"""The profile of this machine: what one rank does, operation by operation, and what ranks cost each other.

    operations          contention            links of 2          links of 4 ...
    rank 0 alone        as many as cores,     ranks 0, 1          ranks 0 to 3         never a training step
                        then all: speeds

It knows which families there are and what share of the time each gets; how each is timed stands in `products`,
`memory_bound`, `overheads`, `contention` and `rank_speeds`, and for links in the room of the wire, `collectives.links`,
which is handed in. It is given a way to run a function on ranks, and doesn't know how ranks are started.
"""

from __future__ import annotations

import datetime
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from statistics import median
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist

from plait.devices import host
from plait.devices.contention import measure_contention
from plait.devices.device import Device, current_device, rank_device
from plait.devices.grid import Grid
from plait.devices.memory_bound import measure_copy, measure_memory_bound
from plait.devices.overheads import measure_blocks, measure_dispatch, measure_optimizers
from plait.devices.products import gemm_shapes, measure_attention, measure_gemm
from plait.devices.rank_speeds import measure_speeds
from plait.specs.cluster import usable_cores
from plait.specs.links import Link, Overlap
from plait.specs.measurements import Gemm, Host, Measurements
from plait.specs.training import Dtype

__all__ = [
    "LinkReport",
    "RunOnRanks",
    "default_ranks",
    "describe_host",
    "link_groups",
    "measure_machine",
    "measure_operations",
    "middle",
    "on_first_rank",
    "rank_counts",
]

_MOST_RANKS = 8
_FEWEST_DEFAULT_RANKS = 4  # on two cores, too, jobs are tried out with four

# Shares of Grid.operation_seconds; in each pass every family is timed at least three times over, whatever its share.
_DISPATCH, _BLOCKS, _COPY, _GEMM, _ATTENTION, _MEMORY_BOUND, _OPTIMIZER = 0.02, 0.05, 0.03, 0.5, 0.1, 0.2, 0.1
_PASSES = 3

T = TypeVar("T")


class LinkReport(Protocol):
    """What was found between some ranks, and between that many that compute meanwhile."""

    @property
    def links(self) -> tuple[Link, ...]: ...

    @property
    def overlap(self) -> Overlap: ...


class RunOnRanks(Protocol):
    """Calls a function on every rank, torch.distributed joined; its results by rank (`RankPool.run` is one)."""

    def __call__(self, function: Callable[..., T], *args: object) -> list[T]: ...


def default_ranks() -> int:
    """Ranks that a profile starts: one a core, at least 4, at most 8; one an accelerator where there are some."""
    if current_device().is_accelerator:
        return min(torch.accelerator.device_count(), _MOST_RANKS)
    return min(max(usable_cores(), _FEWEST_DEFAULT_RANKS), _MOST_RANKS)


def rank_counts(ranks: int) -> tuple[int, ...]:
    """Numbers of ranks whose links are timed: the powers of two below `ranks`, and `ranks`."""
    powers = itertools.takewhile(lambda power: power < ranks, (2**exponent for exponent in itertools.count(1)))
    return (*powers, ranks) if ranks > 1 else ()


def link_groups(ranks: int, hosts: Sequence[tuple[int, ...]] = ()) -> list[tuple[tuple[int, ...], int]]:
    """The groups whose links are timed, each with its number of hosts: on the first host, then one rank of each host,
    then all. Rank 0 is in all of them."""
    here = hosts[0] if hosts else tuple(range(ranks))
    groups = [(here[:count], 1) for count in rank_counts(len(here))]
    if len(hosts) > 1:
        across = {tuple(one[0] for one in hosts), tuple(rank for one in hosts for rank in one)}
        groups += [(members, len(hosts)) for members in sorted(across, key=len)]
    return groups


def measure_machine(
    run: RunOnRanks,
    ranks: int,
    measure_links: Callable[[Grid, tuple[int, ...], int], LinkReport | None],
    *,
    hosts: Sequence[tuple[int, ...]] = (),
    grid: Grid | None = None,
    tell: Callable[[str], None] = lambda stage: None,
) -> Measurements:
    """The whole profile, on the `ranks` ranks that `run` reaches; `tell` hears what is being timed.

    `measure_links(grid, members, n)`, called on every rank, times what those members, on n hosts, send each other.
    `hosts`: the ranks of each host, where there are several.
    """
    began = time.perf_counter()
    sizes = grid or Grid()
    tell("operations")
    alone = run(on_first_rank, sizes)[0]
    if alone is None:
        raise AssertionError("rank 0 measured nothing")
    tell("ranks at once")
    here = len(hosts[0]) if hosts else ranks
    together = run(measure_contention, sizes, min(here, usable_cores()))[0]
    speeds = run(measure_speeds, sizes)[0] if ranks > 1 else ()
    reports: list[LinkReport] = []
    for members, on in link_groups(ranks, hosts):
        tell(f"links between {len(members)} ranks" + (f" on {on} hosts" if on > 1 else ""))
        reports += [report for report in run(measure_links, sizes, members, on)[:1] if report is not None]
    return replace(
        alone,
        contention=together.contention,
        memory_bandwidth_all=together.memory_bandwidth,
        collectives=tuple(link for report in reports for link in report.links),
        overlap=tuple(report.overlap for report in reports),
        speeds=speeds,
        seconds=time.perf_counter() - began,
    )


def on_first_rank(grid: Grid) -> Measurements | None:
    """The first task of a profile: what one rank does alone; None on the others."""
    device = rank_device()
    return measure_operations(grid, _dtypes_of(device), device) if dist.get_rank() == 0 else None


def _dtypes_of(device: Device) -> tuple[Dtype, ...]:
    """All that it computes in: the first gets the whole grid, further ones a coarse part."""
    return ("bf16", "fp32") if device.is_accelerator else ("fp32", "bf16", "fp64")


def describe_host(device: Device) -> Host:
    """The machine as it is now. Take it before anything else runs: others' work is told by what we don't do."""
    return Host(
        processor=host.processor_name(),
        cores=usable_cores(),
        memory_bytes=device.total_memory,
        device=device.kind,
        torch=str(torch.__version__),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        busy_cores=host.busy_cores() or 0.0,
        rank_bytes=device.process_memory,
        host_memory_bytes=host.memory_bytes() if device.is_accelerator else 0,
    )


def measure_operations(grid: Grid, dtypes: Sequence[Dtype], device: Device) -> Measurements:
    """Everything that one rank does alone. The first dtype gets the whole grid, the others a coarse part of it. All of
    it is gone through several times, and of each number the median counts: a slow moment of the machine, which may last
    for seconds, would else make one family of operations slow and leave the others as they are."""
    began = time.perf_counter()
    described = describe_host(device)
    found: Measurements = middle([_operations(grid, dtypes, device) for _ in range(_PASSES)])
    return replace(found, host=described, seconds=time.perf_counter() - began)


def middle(found: Sequence[Any]) -> Any:
    """Of the same, measured several times: of every float in it the median."""
    first = found[0]
    if isinstance(first, float):
        return median(found)
    if isinstance(first, tuple):
        return tuple(middle(each) for each in zip(*found, strict=True))
    if is_dataclass(first) and not isinstance(first, type):
        changes = {one.name: middle([getattr(each, one.name) for each in found]) for one in fields(first)}
        return replace(first, **changes)
    return first


def _operations(grid: Grid, dtypes: Sequence[Dtype], device: Device) -> Measurements:
    """One pass through all of them."""
    budget = grid.operation_seconds / _PASSES
    dispatch, start = measure_dispatch(budget=_DISPATCH * budget, device=device)
    first = dtypes[0]
    heads = tuple(itertools.product(grid.sequences, grid.head_dims))
    return Measurements(
        dispatch=dispatch,
        blocks=measure_blocks(budget=_BLOCKS * budget, device=device, start=start),
        memory_bandwidth=measure_copy(grid.copied_bytes, budget=_COPY * budget, device=device),
        gemm=_gemm(grid, dtypes, _GEMM * budget, device),
        attention=measure_attention(heads, first, budget=_ATTENTION * budget, device=device, start=start),
        memory_bound=measure_memory_bound(
            grid.elements, first, budget=_MEMORY_BOUND * budget, device=device, start=start
        ),
        optimizer=measure_optimizers(grid.parameters, budget=_OPTIMIZER * budget, device=device),
    )


def _gemm(grid: Grid, dtypes: Sequence[Dtype], budget: float, device: Device) -> tuple[Gemm, ...]:
    found: tuple[Gemm, ...] = ()
    for place, dtype in enumerate(dtypes):
        shapes = gemm_shapes(grid.coarse_dims if place else grid.dims, grid.most_multiplications)
        found += measure_gemm(shapes, dtype, budget=budget / (8 if place else 1), device=device)
    return found

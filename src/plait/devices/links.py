"""Links between ranks, timed from inside them: every rank calls this together, torch.distributed joined.

    rank 0   compute ───────────────┤ start ──────── end
    rank 1   compute ───────┤ start ··· waits ······ end        time of the call = last end - last start

Ranks compute between two calls, as in training, so that a link is timed as training finds it: caches full of other
things, gloo's own threads asleep. All ranks stand on one host and read one clock. Operations and links only, never a
training step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

from plait.devices.device import Device, rank_device
from plait.devices.grid import Grid
from plait.devices.link_fit import fit_link
from plait.devices.timing import median_seconds
from plait.specs.links import Link, LinkKind, Overlap, Transfer, link_steps

__all__ = ["LinkReport", "all_gather", "measure_links", "reduce_scatter"]

_COMPUTE_SECONDS = 5e-4  # before each call
_FEWEST_ROUNDS, _MOST_ROUNDS = 5, 60
_OVERLAP_ROUNDS = 9
_HIDING = 2.0  # times a collective's own time: compute that it is to hide behind
_KINDS: tuple[LinkKind, ...] = ("all_reduce", "reduce_scatter", "all_gather", "send", "exchange")
_SIDE = 256  # of the matrices that ranks multiply in between

# torch renamed them in 2.13
reduce_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor

_Call = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class LinkReport:
    """What was found between `ranks` ranks, and between that many that compute meanwhile."""

    links: tuple[Link, ...]
    overlap: Overlap


@dataclass(frozen=True, kw_only=True)
class _Ring:
    """The ranks that take part, the work they do in between (`unit`, which takes `unit_seconds`), and their device."""

    group: dist.ProcessGroup
    device: Device
    unit: _Call
    unit_seconds: float

    @property
    def ranks(self) -> int:
        return dist.get_world_size(self.group)

    def compute(self, seconds: float) -> None:
        """Multiply matrices for about that long."""
        for _ in range(round(seconds / self.unit_seconds)):
            self.unit()

    def last(self, values: Sequence[float]) -> Tensor:
        """The largest over the ranks of each value."""
        largest = torch.tensor(values, dtype=torch.float64, device=self.device.torch)
        dist.all_reduce(largest, op=dist.ReduceOp.MAX, group=self.group)
        return largest.cpu()


def measure_links(grid: Grid, ranks: int) -> LinkReport | None:
    """Time every collective between the first `ranks` ranks. All ranks call it; those beyond get None."""
    with _group_of(1) as alone, _group_of(ranks) as group:
        if group is None:
            return None
        ring = _ring(group)
        return LinkReport(links=_links(grid, ring, alone), overlap=_overlap(max(grid.payloads) // 4, ring))


@contextmanager
def _group_of(ranks: int) -> Iterator[dist.ProcessGroup | None]:
    """The first `ranks` ranks, None on others; each of them has to take part in the making, and waits for the end."""
    group = dist.new_group(list(range(ranks)))
    if not isinstance(group, dist.ProcessGroup):
        yield None
        dist.barrier()
        return
    yield group
    dist.barrier()
    dist.destroy_process_group(group)


def _ring(group: dist.ProcessGroup) -> _Ring:
    device = rank_device()
    factor = torch.zeros(_SIDE, _SIDE, device=device.torch)
    unit = partial(torch.mm, factor, factor)
    taken = median_seconds({"unit": unit}, budget=0.0, device=device)["unit"]
    return _Ring(group=group, device=device, unit=unit, unit_seconds=taken)


def _links(grid: Grid, ring: _Ring, alone: dist.ProcessGroup | None) -> tuple[Link, ...]:
    backend, dispatch = dist.get_backend(ring.group), _dispatch_seconds(alone, ring)
    calls = [call for payload in grid.payloads for call in _calls(payload, ring)]
    seconds = torch.tensor(_timed(calls, ring, grid.link_seconds)).view(len(grid.payloads), len(_KINDS))
    return tuple(
        fit_link(
            backend,
            kind,
            ring.ranks,
            [
                Transfer(bytes=4 * _elements(payload, ring.ranks), seconds=taken)
                for payload, taken in zip(grid.payloads, seconds[:, column].tolist(), strict=True)
            ],
            alone=dispatch if link_steps(kind, 1) == 0 else None,
        )
        for column, kind in enumerate(_KINDS)
    )


def _elements(payload: int, ranks: int) -> int:
    """fp32 numbers in a payload of about that many bytes that ranks can share equally."""
    return max(payload // 4 // ranks, 1) * ranks


def _calls(payload: int, ring: _Ring) -> tuple[_Call, ...]:
    """One call of each of _KINDS."""
    whole = torch.zeros(_elements(payload, ring.ranks), device=ring.device.torch)
    part, other = whole[: len(whole) // ring.ranks].clone(), torch.zeros_like(whole)
    group = ring.group
    return (
        partial(dist.all_reduce, whole, group=group),
        partial(reduce_scatter, part, whole, group=group),
        partial(all_gather, whole, part, group=group),
        partial(_send, whole, group),
        partial(_exchange, whole, other, group),
    )


def _partner(group: dist.ProcessGroup) -> int | None:
    """Ranks work in pairs, 0 with 1, 2 with 3; the last of an odd number looks on."""
    partner = dist.get_rank(group) ^ 1
    return partner if partner < dist.get_world_size(group) else None


def _send(tensor: Tensor, group: dist.ProcessGroup) -> None:
    partner = _partner(group)
    if partner is None:
        return
    if partner % 2:
        dist.send(tensor, partner, group=group)
    else:
        dist.recv(tensor, partner, group=group)


def _exchange(ours: Tensor, theirs: Tensor, group: dist.ProcessGroup) -> None:
    partner = _partner(group)
    if partner is None:
        return
    pair = [dist.P2POp(dist.isend, ours, partner, group), dist.P2POp(dist.irecv, theirs, partner, group)]
    for work in dist.batch_isend_irecv(pair):
        work.wait()


def _timed(calls: Sequence[_Call], ring: _Ring, budget: float) -> list[float]:
    """Median seconds of each call, from the last rank's start to the last rank's end."""
    _round(calls, ring)  # connects
    once = sum(_round(calls, ring)) + len(calls) * _COMPUTE_SECONDS
    rounds = min(max(round(budget / once), _FEWEST_ROUNDS), _MOST_ROUNDS)
    spans = torch.tensor([_round(calls, ring) for _ in range(rounds)])  # (rounds, calls)
    return spans.median(dim=0).values.tolist()


def _round(calls: Sequence[_Call], ring: _Ring) -> list[float]:
    """Seconds of each call, once: the same numbers on every rank."""
    stamps: list[tuple[float, float]] = []
    for call in calls:
        ring.compute(_COMPUTE_SECONDS)
        stamps.append(_stamps(call, ring))
    starts, ends = zip(*stamps, strict=True)
    return (ring.last(ends) - ring.last(starts)).clamp(min=1e-9).tolist()


def _stamps(call: _Call, ring: _Ring) -> tuple[float, float]:
    ring.device.synchronize()
    started = time.perf_counter()
    call()
    ring.device.synchronize()
    return started, time.perf_counter()


def _dispatch_seconds(alone: dist.ProcessGroup | None, ring: _Ring) -> float:
    """What a collective costs before its first step: an all-reduce in a group of one, timed on rank 0."""
    taken = 0.0
    if alone is not None:
        tensor = torch.zeros(1, device=ring.device.torch)
        call = partial(dist.all_reduce, tensor, group=alone)
        taken = median_seconds({"call": call}, budget=0.05, device=ring.device, clock=time.perf_counter)["call"]
    return float(ring.last([taken]))


def _overlap(payload: int, ring: _Ring) -> Overlap:
    """All-reduce, compute, and both at once, in turn."""
    tensor = torch.zeros(_elements(payload, ring.ranks), device=ring.device.torch)
    reduce = partial(dist.all_reduce, tensor, group=ring.group)
    once = _timed([reduce], ring, 0.0)[0]
    compute = partial(ring.compute, _HIDING * once)

    def both() -> None:
        work = dist.all_reduce(tensor, group=ring.group, async_op=True)
        compute()
        if work is not None:
            work.wait()

    communication, alone, together = _timed([reduce, compute, both], ring, _OVERLAP_ROUNDS * 6 * once)
    exposed = max(together - alone, 0.0) / communication
    return Overlap(backend=dist.get_backend(ring.group), ranks=ring.ranks, exposed=exposed)

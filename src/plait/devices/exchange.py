"""Do ranks reach each other with the right contents, and how fast? Every rank calls this together, for `plait doctor`.

    rank r holds   1000 r + (position mod 251)        whole numbers, which fp32 adds without rounding

so that one number out of place, or of the wrong rank, is seen. A time is that of one call: a sign of life, where
`links` measures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from plait.devices.device import Device, rank_device
from plait.devices.links import all_gather, reduce_scatter
from plait.specs.links import LinkKind

__all__ = ["PAYLOADS", "Exchange", "exchange_contents"]

PAYLOADS = (2**10, 2**22)  # bytes


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One call with a payload of `bytes`: its seconds, and how many of this rank's `numbers` came out wrong."""

    kind: LinkKind
    bytes: int
    seconds: float
    numbers: int
    wrong: int


@dataclass(frozen=True)
class _Outcome:
    seconds: float
    found: Tensor
    expected: Tensor


_Attempt = Callable[[int, Device], _Outcome]


def exchange_contents(device: Device | None = None, payloads: tuple[int, ...] = PAYLOADS) -> tuple[Exchange, ...]:
    """Every kind with every payload, as this rank finds it, on `device` or, left out, on the rank's own."""
    where = device or rank_device()
    return tuple(
        _exchanged(kind, attempt, payload, where) for payload in payloads for kind, attempt in _ATTEMPTS.items()
    )


def _exchanged(kind: LinkKind, attempt: _Attempt, payload: int, device: Device) -> Exchange:
    ranks = dist.get_world_size()
    length = max(payload // 4 // ranks, 1) * ranks
    attempt(length, device)  # the first connects
    outcome = attempt(length, device)
    return Exchange(
        kind=kind,
        bytes=4 * length,
        seconds=outcome.seconds,
        numbers=outcome.found.numel(),
        wrong=int((outcome.found != outcome.expected).sum()),
    )


def _held(rank: int, length: int, device: Device) -> Tensor:
    return (torch.arange(length, device=device.torch) % 251 + 1000 * rank).float()


def _total(length: int, device: Device) -> Tensor:
    return torch.stack([_held(rank, length, device) for rank in range(dist.get_world_size())]).sum(0)


def _clocked(call: Callable[[], object], device: Device) -> float:
    dist.barrier()
    device.synchronize()
    began = time.perf_counter()
    call()
    device.synchronize()
    return time.perf_counter() - began


def _all_reduce(length: int, device: Device) -> _Outcome:
    found = _held(dist.get_rank(), length, device)
    return _Outcome(_clocked(lambda: dist.all_reduce(found), device), found, _total(length, device))


def _reduce_scatter(length: int, device: Device) -> _Outcome:
    rank, ranks = dist.get_rank(), dist.get_world_size()
    whole = _held(rank, length, device)
    found = torch.empty_like(whole[: length // ranks])
    seconds = _clocked(lambda: reduce_scatter(found, whole), device)
    return _Outcome(seconds, found, _total(length, device).chunk(ranks)[rank])


def _all_gather(length: int, device: Device) -> _Outcome:
    ranks = dist.get_world_size()
    part = _held(dist.get_rank(), length // ranks, device)
    found = part.new_empty(length)
    seconds = _clocked(lambda: all_gather(found, part), device)
    return _Outcome(seconds, found, torch.cat([_held(rank, length // ranks, device) for rank in range(ranks)]))


def _send(length: int, device: Device) -> _Outcome:
    """Round the ring, even ranks first, so that no rank waits for one that waits; an odd one's end joins the second."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    sent, before, after = _held(rank, length, device), (rank - 1) % ranks, (rank + 1) % ranks
    found = torch.empty_like(sent)

    def call() -> None:
        if rank % 2 == 0:
            dist.send(sent, after)
            dist.recv(found, before)
        else:
            dist.recv(found, before)
            dist.send(sent, after)

    return _Outcome(_clocked(call, device) / 2, found, _held(before, length, device))


def _exchange(length: int, device: Device) -> _Outcome:
    """To the next rank and from the one before, offered at once."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    sent, before = _held(rank, length, device), (rank - 1) % ranks
    found = torch.empty_like(sent)

    def call() -> None:
        pair = [dist.P2POp(dist.isend, sent, (rank + 1) % ranks), dist.P2POp(dist.irecv, found, before)]
        for work in dist.batch_isend_irecv(pair):
            work.wait()

    return _Outcome(_clocked(call, device), found, _held(before, length, device))


_ATTEMPTS: dict[LinkKind, _Attempt] = {
    "all_reduce": _all_reduce,
    "reduce_scatter": _reduce_scatter,
    "all_gather": _all_gather,
    "send": _send,
    "exchange": _exchange,
}

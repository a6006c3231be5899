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

from plait.collectives.functional import buffer
from plait.collectives.process_groups import Group, join
from plait.collectives.wire import Transfer, Wire
from plait.devices.device import Device, rank_device
from plait.specs.links import LinkKind

__all__ = ["PAYLOADS", "Delivery", "exchange_contents"]

PAYLOADS = (2**10, 2**22)  # bytes


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One call on a `wire` with a payload of `bytes`: its seconds, and how many of this rank's `numbers` came out
    wrong."""

    wire: str
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


@dataclass(frozen=True)
class _World:
    """All ranks, and the wire between them."""

    group: Group
    device: Device

    @property
    def wire(self) -> Wire:
        assert self.group.wire is not None
        return self.group.wire

    @property
    def rank(self) -> int:
        return self.group.index

    @property
    def ranks(self) -> int:
        return self.group.size

    def held(self, rank: int, length: int) -> Tensor:
        """What a rank begins with."""
        return (torch.arange(length, device=self.device.torch) % 251 + 1000 * rank).float()

    def total(self, length: int) -> Tensor:
        """The sum of what all have."""
        return torch.stack([self.held(rank, length) for rank in range(self.ranks)]).sum(0)

    def clocked(self, call: Callable[[], object]) -> float:
        """Seconds of a call that all begin together."""
        dist.barrier()
        self.device.synchronize()
        began = time.perf_counter()
        call()
        self.device.synchronize()
        return time.perf_counter() - began


_Attempt = Callable[[int, _World], _Outcome]


def exchange_contents(device: Device | None = None, payloads: tuple[int, ...] = PAYLOADS) -> tuple[Delivery, ...]:
    """Every kind with every payload, as this rank finds it, on `device` or, left out, on the rank's own."""
    group = join("data", tuple(range(dist.get_world_size())))
    assert group is not None
    world = _World(group, device or rank_device())
    return tuple(
        _delivered(kind, attempt, payload, world) for payload in payloads for kind, attempt in _ATTEMPTS.items()
    )


def _delivered(kind: LinkKind, attempt: _Attempt, payload: int, world: _World) -> Delivery:
    length = max(payload // 4 // world.ranks, 1) * world.ranks
    attempt(length, world)  # the first connects
    outcome = attempt(length, world)
    return Delivery(
        wire=world.wire.name,
        kind=kind,
        bytes=4 * length,
        seconds=outcome.seconds,
        numbers=outcome.found.numel(),
        wrong=int((outcome.found != outcome.expected).sum()),
    )


def _all_reduce(length: int, world: _World) -> _Outcome:
    found = world.held(world.rank, length)
    seconds = world.clocked(lambda: world.wire.all_reduce(found, "sum").wait())
    return _Outcome(seconds, found, world.total(length))


def _all_reduce_in_place(length: int, world: _World) -> _Outcome:
    held = buffer(length, torch.float32, world.device.torch, world.group)
    held.own.copy_(world.held(world.rank, length))
    seconds = world.clocked(lambda: world.wire.all_reduce(held.own, "sum").wait())
    return _Outcome(seconds, held.own, world.total(length))


def _reduce_scatter(length: int, world: _World) -> _Outcome:
    parts = list(world.held(world.rank, length).chunk(world.ranks))
    found: list[Tensor] = []

    def call() -> None:
        found.extend(world.wire.reduce_scatter(parts).wait())

    seconds = world.clocked(call)
    return _Outcome(seconds, found[0], world.total(length).chunk(world.ranks)[world.rank])


def _all_gather(length: int, world: _World) -> _Outcome:
    part = length // world.ranks
    found: list[Tensor] = []

    def call() -> None:
        found.extend(world.wire.all_gather(world.held(world.rank, part), [part] * world.ranks).wait())

    seconds = world.clocked(call)
    return _Outcome(seconds, torch.cat(found), torch.cat([world.held(rank, part) for rank in range(world.ranks)]))


def _send(length: int, world: _World) -> _Outcome:
    """Round the ring, even ranks first, so that no rank waits for one that waits; an odd one's end joins the second."""
    sent, before, after = world.held(world.rank, length), (world.rank - 1) % world.ranks, (world.rank + 1) % world.ranks
    found = torch.empty_like(sent)
    pair = [
        Transfer(direction="send", tensor=sent, peer=after), Transfer(direction="receive", tensor=found, peer=before)
    ]  # fmt: skip

    def call() -> None:
        for transfer in pair if world.rank % 2 == 0 else reversed(pair):
            world.wire.exchange([transfer]).wait()

    return _Outcome(world.clocked(call) / 2, found, world.held(before, length))


def _exchange(length: int, world: _World) -> _Outcome:
    """To the next rank and from the one before, offered at once."""
    sent, before, after = world.held(world.rank, length), (world.rank - 1) % world.ranks, (world.rank + 1) % world.ranks
    found = torch.empty_like(sent)
    to, back = (
        Transfer(direction="send", tensor=sent, peer=after), Transfer(direction="receive", tensor=found, peer=before)
    )  # fmt: skip
    return _Outcome(world.clocked(lambda: world.wire.exchange([to, back]).wait()), found, world.held(before, length))


_ATTEMPTS: dict[LinkKind, _Attempt] = {
    "all_reduce": _all_reduce,
    "all_reduce_in_place": _all_reduce_in_place,
    "reduce_scatter": _reduce_scatter,
    "all_gather": _all_gather,
    "send": _send,
    "exchange": _exchange,
}

"""How the ranks of a group that stand on one host come to share memory, also where the group has several hosts.

    every rank   makes its segment ─► tells all its host, process and descriptor ─► attaches its host's ─► all have?

                                 they share memory                   they don't
    all on one host              shared memory                       torch.distributed's
    several hosts, several on    in two levels: shared memory on     as each on its own
                                 each host, pairs of hosts across
    each one a host of its own   what torch.distributed has, but for what it does badly, and needs no memory;
                                 so also groups along one axis that stand on hosts unlike each other

What is told travels once, through torch.distributed. PLAIT_SHARED_MEMORY=0 in the environment of any rank of a group
keeps the whole group from sharing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist

from plait.collectives.arena import Arena, Member, segment_bytes
from plait.collectives.between_hosts import BetweenHosts
from plait.collectives.cheapest import Cheapest
from plait.collectives.hierarchical import Hierarchical
from plait.collectives.peers import Peers
from plait.collectives.segment import attached, can_share, created, host_identity, mapped
from plait.collectives.shared_memory import SharedMemory
from plait.collectives.wire import Wire
from plait.launchers.processes import process_began
from plait.sharding.all_reduce import shared
from plait.specs.links import LinkSpeed

__all__ = ["VARIABLE", "meet", "shares_memory", "standing"]

VARIABLE = "PLAIT_SHARED_MEMORY"


class _Told(NamedTuple):
    """What a rank tells the others: a `descriptor` below 0 is of one that can't share."""

    host: int
    process: int
    began: int
    descriptor: int


def shares_memory() -> bool:
    """Whether this process is to share memory with others of its host."""
    return can_share() and os.environ.get(VARIABLE) != "0"


def standing(world: dist.ProcessGroup) -> list[int] | None:
    """The host of each rank of the world, as a number; every rank calls it. None where no wire goes by hosts."""
    if "gloo" not in str(dist.get_backend(world)):
        return None
    received = [torch.zeros(1, dtype=torch.int64) for _ in range(dist.get_world_size(world))]
    dist.all_gather(received, torch.tensor([host_identity()]), group=world)
    return [int(one) for one in received]


def meet(
    handle: dist.ProcessGroup,
    ranks: Sequence[int],
    index: int,
    patience: float,
    link: LinkSpeed,
    *,
    alone: bool = False,
) -> Wire | None:
    """The wire of a group of CPU ranks, whose hosts are joined by `link`; every member calls it. None for all of one
    host where one can't share memory: torch.distributed's is left. `alone`: each counts as on a host of its own, since
    groups that have to sum in one order stand on hosts unlike each other (`sharding.standing`)."""
    if "gloo" not in str(dist.get_backend(handle)):
        return None
    if alone:
        return BetweenHosts(handle, ranks, index, link)
    size = segment_bytes(len(ranks))
    descriptor = created(size) if shares_memory() else -1
    try:
        began = process_began(os.getpid()) or 0
        mine = _Told(host=host_identity(), process=os.getpid(), began=began, descriptor=descriptor)
        told = _exchanged(mine, handle, len(ranks))
        hosts = _hosts(told)
        apart = BetweenHosts(handle, ranks, index, link) if len(hosts) > 1 else None
        if len(hosts) == len(ranks) or any(one.descriptor < 0 for one in told):
            return apart
        here = next(places for places in hosts if index in places)
        segments = _attached([told[place] for place in here], here.index(index), size)
        if not _agreed(segments, handle):
            return apart
        members = [Member(ranks[place], told[place].process, told[place].began) for place in here]
        memory = SharedMemory(Arena(segments, members, here.index(index), patience)) if len(here) > 1 else None
        return memory if apart is None else _in_two_levels(apart, link, hosts, memory)
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _exchanged(mine: _Told, handle: dist.ProcessGroup, size: int) -> list[_Told]:
    received = [torch.zeros(len(mine), dtype=torch.int64) for _ in range(size)]
    dist.all_gather(received, torch.tensor(mine), group=handle)
    return [_Told(*one.tolist()) for one in received]


def _attached(told: Sequence[_Told], index: int, size: int) -> list[torch.Tensor]:
    """All segments; none where this rank may not attach one."""
    try:
        return [
            mapped(one.descriptor, size) if place == index else attached(one.process, one.descriptor, size)
            for place, one in enumerate(told)
        ]
    except RuntimeError:  # ranks of different users, or a kernel that forbids it
        return []


def _hosts(told: Sequence[_Told]) -> list[list[int]]:
    """The places that stand on each host."""
    found: dict[int, list[int]] = {}
    for place, one in enumerate(told):
        found.setdefault(one.host, []).append(place)
    return list(found.values())


def _agreed(segments: list[torch.Tensor], handle: dist.ProcessGroup) -> bool:
    """Whether all have attached what they need."""
    able = torch.tensor([bool(segments)], dtype=torch.int64)
    dist.all_reduce(able, op=dist.ReduceOp.MIN, group=handle)
    return bool(able.item())


def _in_two_levels(
    whole: BetweenHosts, link: LinkSpeed, hosts: Sequence[Sequence[int]], memory: SharedMemory | None
) -> Hierarchical:
    local = next(places.index(whole.index) for places in hosts if whole.index in places)
    beside = [places[local] for places in hosts if local < len(places)]  # on each host the one at this rank's place
    across = None
    if len(beside) == len(hosts):
        slices = min(len(places) for places in hosts)  # as many cross at once
        across = Cheapest(Peers(whole, beside), shared(link, slices))
    return Hierarchical(whole, hosts, memory, across)

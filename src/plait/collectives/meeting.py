"""How the ranks of a group that stand on one host come to share memory; where they don't, they go without.

    every rank   makes its segment ─► tells all its host, process and descriptor ─► attaches the others' ─► all have?

What is told travels once, through torch.distributed. PLAIT_SHARED_MEMORY=0 in the environment of any rank of a group
keeps the whole group from it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist

from plait.collectives.arena import Arena, Member, process_began, segment_bytes
from plait.collectives.segment import attached, created, host_identity, mapped
from plait.collectives.shared_memory import SharedMemory

__all__ = ["VARIABLE", "meet"]

VARIABLE = "PLAIT_SHARED_MEMORY"


class _Told(NamedTuple):
    """What a rank tells the others."""

    host: int
    process: int
    began: int
    descriptor: int


def meet(handle: dist.ProcessGroup, ranks: Sequence[int], index: int, patience: float) -> SharedMemory | None:
    """The shared memory of a group of CPU ranks; every member calls it. None for all where one can't take part."""
    if "gloo" not in str(dist.get_backend(handle)):
        return None
    host = 0 if os.environ.get(VARIABLE) == "0" else host_identity()
    size = segment_bytes(len(ranks))
    descriptor = created(size) if host else -1
    try:
        mine = _Told(host=host, process=os.getpid(), began=process_began(os.getpid()) or 0, descriptor=descriptor)
        told = _exchanged(mine, handle, len(ranks))
        if host == 0 or any(one.host != host for one in told):
            return None
        segments = _attached(told, index, size)
        members = [Member(rank, one.process, one.began) for rank, one in zip(ranks, told, strict=True)]
        return _agreed(segments, members, index, patience, handle)
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


def _agreed(
    segments: list[torch.Tensor], members: Sequence[Member], index: int, patience: float, handle: dist.ProcessGroup
) -> SharedMemory | None:
    able = torch.tensor([bool(segments)], dtype=torch.int64)
    dist.all_reduce(able, op=dist.ReduceOp.MIN, group=handle)
    return SharedMemory(Arena(segments, members, index, patience)) if able.item() else None

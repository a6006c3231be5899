"""gloo's wire beside shared memory: the program's waits on the one drive what rests on the other."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from plait.collectives import arena
from plait.collectives.arena import SLOT_BYTES
from plait.collectives.c10d import C10d
from plait.collectives.process_groups import build_mesh
from plait.collectives.shared_memory import SharedMemory
from plait.collectives.wire import Transfer
from plait.sharding.mesh_shape import MeshShape
from plait.specs.links import LinkSpeed

ELSEWHERE = LinkSpeed(alpha=1.25e-3, bytes_per_second=1e9)  # no other test's, so that the group is made anew


def wires() -> tuple[SharedMemory, C10d]:
    """Both between this rank and the other one; the second as two hosts have it."""
    memory = build_mesh(MeshShape(data=2)).axis("data").wire
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "PLAIT_SHARED_MEMORY", "0")
        gloo = build_mesh(MeshShape(data=2), ELSEWHERE).axis("data").wire
    assert isinstance(memory, SharedMemory)
    assert isinstance(gloo, C10d)
    return memory, gloo


def one_waits_for_gloo_and_the_other_for_shared_memory(kind: str) -> bool:
    """Rank 0's sum has begun, and rests: it goes on only while rank 0 waits for what rank 1 sends after the sum."""
    memory, gloo = wires()
    rank = dist.get_rank()
    flat, other = torch.full((8 * SLOT_BYTES // 4,), 1.0 + rank), torch.zeros(5)
    summing = memory.all_reduce(flat, "sum")
    if rank == 1:
        summing.wait()
    if kind == "collective":
        gloo.all_reduce(other, "sum").wait()
    elif kind == "gathered":
        gloo.all_gather(other, [5, 5]).wait()
    else:
        count = 2 if kind == "transfers" else 1
        way = "send" if rank == 1 else "receive"
        gloo.exchange([Transfer(direction=way, tensor=other, peer=1 - rank)] * count).wait()
    summing.wait()
    return bool(flat.eq(3.0).all())


@pytest.mark.parametrize("kind", ["collective", "gathered", "transfer", "transfers"])
def test_a_wait_for_gloo_drives_what_rests_in_shared_memory(run_on_ranks, kind):
    assert run_on_ranks(2, one_waits_for_gloo_and_the_other_for_shared_memory, kind, timeout=10.0) == [True, True]


def an_exchange_of_nothing_is_done() -> int:
    _, gloo = wires()
    done = gloo.exchange([])
    done.wait()
    return len(done.sends) + len(done.receives)


def test_who_has_nobody_to_exchange_with_is_done_at_once(run_on_ranks):
    assert run_on_ranks(2, an_exchange_of_nothing_is_done, timeout=10.0) == [0, 0]


@pytest.mark.parametrize(
    ("local", "world", "cores", "many"), [(None, 4, 2, True), (None, 2, 2, False), (2, 8, 2, False), (4, 8, 2, True)]
)
def test_a_host_is_crowded_by_its_own_ranks(monkeypatch, local, world, cores, many):
    """`local`: as torchrun says it; None where it has not started them."""
    monkeypatch.setattr(arena, "usable_cores", lambda: cores)
    monkeypatch.setattr(arena.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(arena.dist, "get_world_size", lambda: world)
    there = None if local is None else SimpleNamespace(local_size=local)
    monkeypatch.setattr(arena.torchrun, "place", lambda: there)
    assert arena.crowded() is many

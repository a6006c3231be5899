"""Shared memory against gloo, its oracle: the same results, the same bits on all ranks, and an end to every wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from plait.collectives.arena import MAIL_BYTES, SLOT_BYTES
from plait.collectives.c10d import C10d
from plait.collectives.process_groups import Group, build_mesh
from plait.collectives.shared_memory import SharedMemory
from plait.collectives.wire import Transfer
from plait.errors import RankFailure
from plait.launchers import RankPool
from plait.sharding.mesh_shape import MeshShape
from tests.collectives.drawn import drawn

SMALL, SLOT = 1 << 16, SLOT_BYTES  # bytes; what is larger takes another way, in pieces
COUNTS = [0, 1, 3, 17, SMALL // 8, SMALL // 8 + 1, SLOT // 8, SLOT // 8 + 1, 3 * SLOT // 8 + 5]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8]


def group_of(ranks: int) -> Group:
    return build_mesh(MeshShape(data=ranks)).axis("data")


def both(ranks: int) -> tuple[SharedMemory, C10d]:
    """The group's shared memory, and gloo on the same ranks."""
    group = group_of(ranks)
    assert isinstance(group.wire, SharedMemory)
    world = dist.group.WORLD
    assert world is not None
    return group.wire, C10d(world, group.ranks, group.index)


def reduced(ranks, count, dtype, operation):
    memory, gloo = both(ranks)
    mine = drawn(dist.get_rank(), count).to(dtype).abs()
    ours, theirs = mine.clone(), mine.clone()
    memory.all_reduce(ours, operation).wait()
    gloo.all_reduce(theirs, operation).wait()
    return ours, theirs


@pytest.mark.parametrize("operation", ["sum", "max"])
@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("count", COUNTS)
def test_all_reduce(run_on_ranks, ranks, count, operation):
    for ours, theirs in run_on_ranks(ranks, reduced, ranks, count, torch.float64, operation):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_all_reduce_of_any_dtype(run_on_ranks, dtype):
    for count in (7, SLOT // 4 + 1):
        for ours, theirs in run_on_ranks(3, reduced, 3, count, dtype, "sum"):
            assert torch.equal(ours, theirs)


def fractions(ranks, count, in_place):
    """Numbers whose sum depends on its order, in a plain tensor or in a buffer of the wire's own."""
    memory, _ = both(ranks)
    buffer = memory.buffer(count, torch.float32)
    flat = buffer.own if in_place else torch.zeros(count)
    flat.copy_(torch.rand(count, generator=torch.Generator().manual_seed(dist.get_rank())))
    before = flat.double()
    memory.all_reduce(flat, "sum").wait()
    return flat.clone(), before


@pytest.mark.parametrize("in_place", [False, True], ids=["tensor", "buffer"])
@pytest.mark.parametrize("count", [0, 1, 5, 999, SMALL, SLOT + 3])
def test_all_ranks_have_the_same_bits(run_on_ranks, count, in_place):
    found = run_on_ranks(3, fractions, 3, count, in_place)
    assert all(torch.equal(found[0][0], flat) for flat, _ in found)
    assert torch.allclose(found[0][0].double(), sum(before for _, before in found), rtol=1e-6)


def gathered(ranks, counts):
    memory, gloo = both(ranks)
    mine = drawn(dist.get_rank(), counts[dist.get_rank()])
    started = memory.all_gather(mine, counts)
    started.work.wait()
    theirs = gloo.all_gather(mine, counts)
    theirs.work.wait()
    return [one.clone() for one in started.results()], [one.clone() for one in theirs.results()]


@pytest.mark.parametrize("counts", [(3, 3, 3), (5, 0, 1), (SLOT // 8, SLOT // 8 + 1, 2), (0, 0, 0)], ids=str)
def test_all_gather(run_on_ranks, counts):
    for ours, theirs in run_on_ranks(3, gathered, 3, counts):
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def scattered(ranks, counts):
    memory, gloo = both(ranks)
    parts = [drawn(ranks * dist.get_rank() + place, count) for place, count in enumerate(counts)]
    ours, theirs = memory.reduce_scatter(parts), gloo.reduce_scatter(parts)
    ours.work.wait()
    theirs.work.wait()
    return ours.results()[0], theirs.results()[0]


@pytest.mark.parametrize("counts", [(3, 3, 3), (5, 0, 1), (SLOT // 8, SLOT // 8 + 1, 2)], ids=str)
def test_reduce_scatter(run_on_ranks, counts):
    for ours, theirs in run_on_ranks(3, scattered, 3, counts):
        assert torch.equal(ours, theirs)


def exchanged(ranks, counts):
    """`counts[i][j]` elements go from i to j."""
    memory, gloo = both(ranks)
    rank = dist.get_rank()
    parts = [drawn(ranks * rank + place, count) for place, count in enumerate(counts[rank])]
    arriving = [counts[place][rank] for place in range(ranks)]
    ours, theirs = memory.all_to_all(parts, arriving), gloo.all_to_all(parts, arriving)
    ours.work.wait()
    theirs.work.wait()
    return list(ours.results()), [one.clone() for one in theirs.results()]


@pytest.mark.parametrize(
    "counts",
    [((1, 2, 3), (4, 5, 6), (7, 8, 9)), ((0, SLOT // 8, 1), (0, 0, 0), (2, 0, SLOT // 8 + 7))],
    ids=["small", "uneven"],
)
def test_all_to_all(run_on_ranks, counts):
    for ours, theirs in run_on_ranks(3, exchanged, 3, counts):
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def broadcasted(ranks, count):
    memory, _ = both(ranks)
    mine = drawn(dist.get_rank(), count)
    memory.broadcast(mine, ranks - 1).wait()
    return mine


@pytest.mark.parametrize("count", [1, 999, SLOT // 8 + 1])
def test_broadcast(run_on_ranks, count):
    for found in run_on_ranks(3, broadcasted, 3, count):
        assert torch.equal(found, drawn(2, count))


def swapped(counts):
    """Both send all before either receives: one is larger than all that may be on its way."""
    memory, _ = both(2)
    peer = 1 - dist.get_rank()
    buffers = [torch.zeros(count, dtype=torch.float64) for count in counts]
    sends = [Transfer(direction="send", tensor=drawn(dist.get_rank(), n), peer=peer) for n in counts]
    receives = [Transfer(direction="receive", tensor=buffer, peer=peer) for buffer in buffers]
    exchange = memory.exchange([*sends, *receives])
    exchange.wait()
    return buffers


def test_sends_and_receives_cross(run_on_ranks):
    counts = (5, 0, MAIL_BYTES // 8 + 3, 7, 9, 11)
    for rank, buffers in enumerate(run_on_ranks(2, swapped, counts)):
        assert all(torch.equal(buffer, drawn(1 - rank, n)) for buffer, n in zip(buffers, counts, strict=True))


def waited_in_another_order():
    """Two groups of the same ranks; each rank begins with waiting for what the other one waits for last."""
    mesh = build_mesh(MeshShape(data=2, tensor=2))
    one, other = mesh.axis("data").wire, mesh.axis("tensor").wire
    large, small = torch.ones(3 * SLOT), torch.ones(2 * SLOT)
    works = [one.all_reduce(large, "sum"), other.all_reduce(small, "sum")]
    for work in works if mesh.rank % 2 else reversed(works):
        work.wait()
    return large.eq(2).all().item() and small.eq(2).all().item()


def test_waiting_in_another_order_than_one_s_neighbour_is_no_deadlock(run_on_ranks):
    assert run_on_ranks(4, waited_in_another_order) == [True] * 4


def started_and_waited_later():
    memory, _ = both(2)
    tensors = [torch.full((count,), float(count)) for count in (3, SLOT, 5, 2 * SLOT)]
    works = [memory.all_reduce(tensor, "sum") for tensor in tensors]
    for work in reversed(works):
        work.wait()
    return all(tensor.eq(2.0 * len(tensor)).all() for tensor in tensors)


def test_many_may_be_under_way(run_on_ranks):
    assert run_on_ranks(2, started_and_waited_later) == [True, True]


def another_size():
    memory, _ = both(2)
    memory.all_reduce(torch.ones(3 + dist.get_rank()), "sum").wait()


def test_ranks_that_do_not_do_the_same_are_told(run_on_ranks):
    with pytest.raises(RankFailure, match=r"all-reduce of 1[26] bytes there, all-reduce of 1[26] bytes here"):
        run_on_ranks(2, another_size)


LOSING = """
import os, sys, time, torch, torch.distributed as dist
from tests.collectives.test_shared_memory import SLOT, both
rank, how, large, store = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True", sys.argv[4]
dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
memory, _ = both(2)
if rank == 1:
    os.kill(os.getpid(), how)
start = time.monotonic()
try:
    memory.all_reduce(torch.ones(8 * SLOT if large else 4), "sum").wait()
finally:
    print("after", time.monotonic() - start)
"""


@pytest.mark.parametrize(
    ("how", "words", "most"), [(signal.SIGKILL, "rank 1 has died", 3.0), (signal.SIGSTOP, "rank 1 hangs", 9.0)]
)
@pytest.mark.parametrize("large", [False, True])
def test_a_rank_that_goes_is_named_by_those_that_wait_for_it(tmp_path, how, words, most, large):
    """Ranks of somebody else's launcher, which ends none of them: the rank that waits has to find out by itself."""
    command = [sys.executable, "-c", LOSING]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [str(int(how)), str(large), str(tmp_path / "store")]
    ranks = [
        subprocess.Popen([*command, str(n), *arguments], env=environment, stdout=-1, stderr=-1, text=True)
        for n in (0, 1)
    ]
    try:
        said, complaint = ranks[0].communicate(timeout=60)
        assert words in complaint
        assert float(said.split("after")[1]) < most
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()


def late():
    memory, _ = both(2)
    if dist.get_rank() == 1:
        time.sleep(60)
    memory.all_reduce(torch.ones(1), "sum").wait()


def test_a_rank_that_never_comes_is_named_when_the_group_s_patience_ends():
    words = r"rank 0 failed first:\n.*rank 1 hangs: it has not come for 2 s"
    with pytest.raises(RankFailure, match=words), RankPool(2, timeout=1.6) as pool:
        pool.run(late, timeout=30.0)


def gloo_instead():
    return type(group_of(2).wire).__name__


def test_one_rank_s_environment_keeps_the_group_from_it(monkeypatch):
    monkeypatch.setenv("PLAIT_SHARED_MEMORY", "0")
    with RankPool(2) as pool:
        assert pool.run(gloo_instead) == ["C10d", "C10d"]


def mappings() -> int:
    return sum("memfd:plait" in line for line in Path("/proc/self/maps").read_text().splitlines())


def shared_and_dropped():
    memory, _ = both(2)
    before = mappings()
    for _ in range(5):
        buffer = memory.buffer(1000, torch.float32)
        memory.all_reduce(buffer.own, "sum").wait()
    del buffer
    return before, mappings()


def test_a_buffer_is_given_back_with_its_last_holder(run_on_ranks):
    for before, after in run_on_ranks(2, shared_and_dropped):
        assert after == before


def test_nothing_is_left_in_shared_memory():
    before = set(os.listdir("/dev/shm"))
    with RankPool(2) as pool:
        pool.run(started_and_waited_later)
        os.kill(pool.pids[0], signal.SIGKILL)
    assert set(os.listdir("/dev/shm")) <= before

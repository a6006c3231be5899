"""Fused groups of sends and receives: both directions at once, in the group's own places, whatever fuses them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist

from plait.collectives.point_to_point import start_transfers
from plait.collectives.process_groups import build_mesh
from plait.collectives.recorder import record
from plait.collectives.wire import Transfer
from plait.plans.prediction import Traffic
from plait.sharding.mesh_shape import MeshShape
from tests.collectives.drawn import drawn

LARGE = 1 << 20  # 8 MiB: no socket buffers that, so that two plain sends would wait for each other for ever


def send(tensor, peer):
    return Transfer(direction="send", tensor=tensor, peer=peer)


def receive(tensor, peer):
    return Transfer(direction="receive", tensor=tensor, peer=peer)


def swap(shape, size):
    """Each of two stages sends to the other and receives from it, in one group."""
    mesh = build_mesh(shape)
    group = mesh.axis("pipeline")
    buffer = torch.zeros(size, dtype=torch.float64)
    with record() as recorder:
        exchange = start_transfers(
            [send(drawn(mesh.rank, size), 1 - group.index), receive(buffer, 1 - group.index)], group
        )
        exchange.wait_for_receives()
        exchange.wait_for_sends()
    return buffer, recorder.traffic(), recorder.blocked_seconds["pipeline"]


def test_both_directions_at_once(run_on_ranks):
    found = run_on_ranks(2, swap, MeshShape(pipeline=2), LARGE)
    for rank, (buffer, traffic, blocked) in enumerate(found):
        assert torch.equal(buffer, drawn(1 - rank, LARGE))
        assert traffic == (
            Traffic(axis="pipeline", kind="receive", bytes=8 * LARGE, count=1),
            Traffic(axis="pipeline", kind="send", bytes=8 * LARGE, count=1),
        )
        assert blocked > 0


def test_peers_are_places_in_the_group(run_on_ranks):
    found = run_on_ranks(4, swap, MeshShape(pipeline=2, data=2), 5)  # stages of ranks (0, 2) and (1, 3)
    assert all(torch.equal(buffer, drawn((rank + 2) % 4, 5)) for rank, (buffer, _, _) in enumerate(found))


def pass_both_ways():
    """A middle stage sends to both neighbours and receives from both, twice over: one group."""
    group = build_mesh(MeshShape(pipeline=3)).axis("pipeline")
    peers = [peer for peer in (group.index - 1, group.index + 1) if 0 <= peer < group.size]
    buffers = {(peer, turn): torch.zeros(4, dtype=torch.float64) for peer in peers for turn in (0, 1)}
    sends = [send(drawn(10 * group.index + turn, 4), peer) for peer, turn in buffers]
    exchange = start_transfers([*sends, *(receive(buffer, peer) for (peer, _), buffer in buffers.items())], group)
    exchange.wait_for_receives()
    exchange.wait_for_sends()
    return buffers


def test_messages_between_two_ranks_keep_their_order(run_on_ranks):
    for buffers in run_on_ranks(3, pass_both_ways):
        for (peer, turn), buffer in buffers.items():
            assert torch.equal(buffer, drawn(10 * peer + turn, 4))


@dataclass
class OneWork:
    """All of a fused group's works behind one, as NCCL gives them."""

    works: list[dist.Work]

    def wait(self):
        for work in self.works:
            work.wait()


def swap_fused():
    plain = dist.batch_isend_irecv
    dist.batch_isend_irecv = lambda operations: [OneWork(plain(operations))]
    try:
        return swap(MeshShape(pipeline=2), 5)
    finally:
        dist.batch_isend_irecv = plain


def test_a_backend_may_give_one_work_for_all(run_on_ranks):
    for rank, (buffer, _, _) in enumerate(run_on_ranks(2, swap_fused)):
        assert torch.equal(buffer, drawn(1 - rank, 5))

"""Wires between two hosts that are real to the ranks: network namespaces, each with a link of its own. Needs root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

from benchmarks.wires_between_hosts import hosts_apart

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="network namespaces need root, and `ip` (iproute2)"
)

Space = tuple[str, str, str]  # name, device, address
PORT = 29_583
BEGIN = """
import json, os, signal, time, torch, torch.distributed as dist
from datetime import timedelta
from plait.collectives.compression import Compressed
from plait.collectives.functional import all_gather, all_reduce, all_to_all, reduce_scatter
from plait.collectives.point_to_point import start_transfers
from plait.collectives.process_groups import build_mesh
from plait.collectives.wire import Transfer
from plait.sharding.mesh_shape import MeshShape
from plait.specs.compression import compression_of
from tests.collectives.drawn import drawn
dist.init_process_group("gloo", timeout=timedelta(seconds=60))
rank, ranks = dist.get_rank(), dist.get_world_size()
group = build_mesh(MeshShape(data=ranks)).axis("data")
"""
SUMMING = """
same = []
for count in (0, 1, 3, 1000, (1 << 19) + 5):
    ours, theirs = drawn(rank, count), drawn(rank, count)
    all_reduce(ours, group).wait()
    dist.all_reduce(theirs)
    same.append(torch.equal(ours, theirs))
fractions = torch.rand(12345, generator=torch.Generator().manual_seed(rank))
all_reduce(fractions, group).wait()
arrived = {peer: torch.zeros(9) for peer in range(ranks) if peer != rank}
transfers = [Transfer(direction="receive", tensor=tensor, peer=peer) for peer, tensor in arrived.items()]
transfers += [Transfer(direction="send", tensor=torch.full((9,), float(rank)), peer=peer) for peer in arrived]
exchange = start_transfers(transfers, group)
exchange.wait_for_receives()
exchange.wait_for_sends()
passed = all(tensor.eq(peer).all().item() for peer, tensor in arrived.items())
addressed = torch.tensor([[10.0 * rank + place] * 3 for place in range(ranks)])
there = all_to_all(addressed, group).wait()
dealt = [torch.equal(row, torch.full((3,), 10.0 * peer + rank)) for peer, row in enumerate(there)]
for count in (7, ranks * (1 << 18) + 3):
    whole = (torch.arange(count) % 1000).float()
    mine = reduce_scatter(whole * (rank + 1), group, 0).wait()
    together = all_gather(mine, group, 0, count).wait()
    dealt.append(torch.equal(together, whole * sum(range(ranks + 1))))
lost = {}
for word in ("fp16", "int8", "powersgd:2", "topk:0.1"):
    sums = Compressed(compression_of(word), [(24, 16)], torch.float64, group, key=7)
    given = torch.randn(384, generator=torch.Generator().manual_seed(rank), dtype=torch.float64)
    summed, left = sums.start(given.clone()).wait(), sums.owed[0].reshape(-1).clone()
    dist.all_reduce(given)
    dist.all_reduce(left)
    lost[word] = [summed.view(torch.int64).sum().item(), (summed + left - given).abs().max().item(),
                  left.abs().max().item()]
print(json.dumps([group.wire.name, same, fractions.view(torch.int32).sum().item(), passed, dealt, lost]))
dist.barrier()
"""
LOSING = """
all_reduce(torch.ones(9), group).wait()
if rank == 3:
    os.kill(os.getpid(), signal.SIGKILL)
start = time.monotonic()
try:
    all_reduce(torch.ones(1 << 20), group).wait()
except Exception as error:
    print(json.dumps([type(error).__name__, str(error), time.monotonic() - start]))
    time.sleep(3)
"""


@pytest.fixture
def two_hosts() -> Iterator[list[Space]]:
    with hosts_apart(2, "none", f"w{os.getpid()}") as spaces:
        yield spaces


def said(spaces: Sequence[Space], script: str) -> list[str]:
    """What each rank prints; one runs in each of `spaces`."""
    ranks = []
    for rank, (space, device, _) in enumerate(spaces):
        environment = os.environ | {
            "RANK": str(rank), "WORLD_SIZE": str(len(spaces)), "MASTER_ADDR": spaces[0][2], "MASTER_PORT": str(PORT),
            "GLOO_SOCKET_IFNAME": device, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path),
        }  # fmt: skip
        command = ["ip", "netns", "exec", space, sys.executable, "-c", BEGIN + script]
        ranks.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    try:
        return [rank.communicate(timeout=120)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()


@pytest.mark.parametrize(
    ("standing", "wire"), [((0, 0, 1, 1), "hierarchical"), ((0, 0, 1), "hierarchical"), ((0, 1), "gloo")]
)
def test_sums_and_messages(two_hosts, standing, wire):
    """`standing`: the host of each rank. Sums are gloo's, and the same bits everywhere; what compressed ones have not
    sent is owed, by whomever."""
    found = [json.loads(words) for words in said([two_hosts[host] for host in standing], SUMMING)]
    assert [name for name, *_ in found] == [wire] * len(standing)
    assert all(all(same) and passed and all(dealt) for _, same, _, passed, dealt, _ in found)
    assert len({bits for _, _, bits, *_ in found}) == 1
    for word in ("fp16", "int8", "powersgd:2", "topk:0.1"):
        bits, wrong, owed = zip(*(lost[word] for *_, lost in found), strict=True)
        assert len(set(bits)) == 1, word
        assert max(wrong) < 1e-12 < 1e-6 < min(owed), word


def test_a_rank_of_the_other_host_that_dies_is_named(two_hosts):
    first, beside, neighbour, dead = said([two_hosts[host] for host in (0, 0, 1, 1)], LOSING)
    assert dead == ""
    for words in (beside, neighbour):  # its partner across, and the one inside its host
        kind, message, seconds = json.loads(words)
        assert kind == "PeerLost"
        assert "rank 3 has died" in message
        assert seconds < 10
    assert json.loads(first)[0] == "PeerLost"  # which only knows its neighbour, who gave up

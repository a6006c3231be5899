"""Two levels against gloo, on hosts that are pretended: the ranks of a pool, parted as if they stood on several."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from plait.collectives.c10d import C10d
from plait.collectives.cheapest import Cheapest
from plait.collectives.hierarchical import Hierarchical
from plait.collectives.peers import Peers
from plait.collectives.process_groups import join
from plait.collectives.shared_memory import SharedMemory
from plait.collectives.wire import Transfer
from plait.specs.catalogue import ASSUMED_SPEED
from tests.collectives.drawn import drawn
from tests.collectives.stepping import gloo, sums_are_gloo_s

HOSTS = {
    "2 + 2": ((0, 1), (2, 3)),
    "2 + 1": ((0, 1), (2,)),
    "2 + 2, mixed": ((0, 2), (1, 3)),
    "3 + 2": ((0, 1, 2), (3, 4)),
    "1 + 3, mixed": ((1,), (0, 2, 3)),
    "2 + 2 + 1": ((0, 1), (2, 3), (4,)),
}
PIECE = 1 << 19  # numbers of float64 in a piece
COUNTS = [0, 1, 2, 3, 17, 4096, PIECE + 1, 2 * PIECE + 7]

several = settings(
    max_examples=8, phases=[Phase.explicit, Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def in_two_levels(hosts) -> Hierarchical:
    whole, inside = gloo(), None
    for places in hosts:
        group = join("data", places)
        if group is not None and group.wire is not None:
            assert isinstance(group.wire, SharedMemory)
            inside = group.wire
    local = next(places.index(whole.index) for places in hosts if whole.index in places)
    fewest = min(len(places) for places in hosts)
    beside = [places[local] for places in hosts] if local < fewest else []
    across = Cheapest(Peers(whole, beside), ASSUMED_SPEED) if beside else None
    return Hierarchical(whole, hosts, inside, across)


def reduced(hosts, counts, operation):
    wire, oracle = in_two_levels(hosts), gloo()
    return sums_are_gloo_s(wire, oracle, counts, operation)


@pytest.mark.parametrize("operation", ["sum", "max"])
@pytest.mark.parametrize("hosts", HOSTS.values(), ids=HOSTS)
def test_all_reduce(run_on_ranks, hosts, operation):
    ranks = sum(map(len, hosts))
    assert run_on_ranks(ranks, reduced, hosts, COUNTS, operation) == [[True] * len(COUNTS)] * ranks


def fractions(hosts, counts):
    """Numbers whose sum depends on its order."""
    wire, oracle = in_two_levels(hosts), gloo()
    drawing = torch.Generator().manual_seed(dist.get_rank())
    found = []
    for count in counts:
        ours = torch.randn(count, generator=drawing, dtype=torch.float64)
        theirs = ours.clone()
        wire.all_reduce(ours, "sum").wait()
        oracle.all_reduce(theirs, "sum").wait()
        found.append((ours, torch.allclose(ours, theirs, rtol=1e-14, atol=1e-14)))
    return found


@several
@given(hosts=st.sampled_from(list(HOSTS.values())), counts=st.lists(st.integers(0, 3 * PIECE // 2), max_size=3))
def test_all_ranks_have_the_same_bits(run_on_ranks, hosts, counts):
    first, *others = run_on_ranks(sum(map(len, hosts)), fractions, hosts, counts)
    for number, (flat, near) in enumerate(first):
        assert near
        assert all(torch.equal(flat, other[number][0]) for other in others)


def all_others(hosts):
    """Each collective but the all-reduce, with an all-reduce under way beside it."""
    wire, oracle = in_two_levels(hosts), gloo()
    rank, ranks = dist.get_rank(), dist.get_world_size()
    flat = torch.ones(PIECE + 1)
    under_way = wire.all_reduce(flat, "sum")
    counts = [3 * place + 1 for place in range(ranks)]
    parts = [drawn(ranks * rank + place, count) for place, count in enumerate(counts)]
    arriving = [counts[rank]] * ranks
    pairs = [
        (one.all_gather(parts[rank], counts), one.reduce_scatter(parts), one.all_to_all(parts, arriving))
        for one in (wire, oracle)
    ]
    same = [
        torch.equal(ours, theirs)
        for mine, its in zip(*pairs, strict=True)
        for ours, theirs in zip(mine.wait(), its.wait(), strict=True)
    ]
    root = drawn(rank, 5)
    wire.broadcast(root, 1).wait()
    under_way.wait()
    return all(same) and torch.equal(root, drawn(1, 5)) and flat.eq(ranks).all().item()


@pytest.mark.parametrize("hosts", HOSTS.values(), ids=HOSTS)
def test_what_is_not_summed(run_on_ranks, hosts):
    assert all(run_on_ranks(sum(map(len, hosts)), all_others, hosts))


def halves(hosts, counts):
    """Reduce-scatter and all-gather of such parts: equal to gloo's, and what was given is as it was."""
    wire, oracle = in_two_levels(hosts), gloo()
    rank, ranks = dist.get_rank(), len(counts)
    parts = [drawn(ranks * rank + place, count) for place, count in enumerate(counts)]
    before = [part.clone() for part in parts]
    sums = [one.reduce_scatter(parts).wait()[0] for one in (wire, oracle)]
    gathered = [one.all_gather(parts[rank], counts).wait() for one in (wire, oracle)]
    return all(
        torch.equal(ours, theirs)
        for ours, theirs in [sums, *zip(*gathered, strict=True), *zip(parts, before, strict=True)]
    )


@pytest.mark.parametrize("hosts", HOSTS.values(), ids=HOSTS)
def test_halves_of_parts_of_any_size(run_on_ranks, hosts):
    ranks = sum(map(len, hosts))
    for counts in ([1] * ranks, [5, 0, 2 * PIECE + 3, 1, 7][:ranks], [0] * ranks):
        assert all(run_on_ranks(ranks, halves, hosts, counts))


def sent_by_the_whole(hosts):
    """Which of the whole group's collectives a reduce-scatter and an all-gather call, and how many numbers leave."""
    wire, rank, ranks = in_two_levels(hosts), dist.get_rank(), dist.get_world_size()
    called, sent = [], []
    for name in ("all_gather", "reduce_scatter", "all_to_all"):
        watched = patch.object(C10d, name, lambda *_, name=name: called.append(name))
        watched.start()
    send = Peers.send

    def counting(self, tensor, peer):
        sent.append(tensor.numel())
        return send(self, tensor, peer)

    with patch.object(Peers, "send", counting):
        wire.reduce_scatter([torch.ones(100)] * ranks).wait()
        wire.all_gather(torch.full((100,), float(rank)), [100] * ranks).wait()
    patch.stopall()
    return called, sum(sent)


def test_halves_send_half_a_tensor_out_of_a_host_each(run_on_ranks):
    found = run_on_ranks(4, sent_by_the_whole, HOSTS["2 + 2"])
    assert found == [([], 200)] * 4  # of 400: 200 out of each host, twice


def exchanged(hosts, count):
    """Everybody sends to everybody, near and far, and waits in an order of its own."""
    wire = in_two_levels(hosts)
    rank, ranks = dist.get_rank(), dist.get_world_size()
    others = [place for place in range(ranks) if place != rank]
    arrived = {place: torch.zeros(count, dtype=torch.float64) for place in others}
    sends = [Transfer(direction="send", tensor=drawn(ranks * rank + to, count), peer=to) for to in others]
    receives = [Transfer(direction="receive", tensor=arrived[place], peer=place) for place in others]
    exchange = wire.exchange([*sends, *receives])
    works = [*exchange.receives, *exchange.sends]
    for work in works if rank % 2 else reversed(works):
        work.wait()
    return all(torch.equal(found, drawn(ranks * place + rank, count)) for place, found in arrived.items())


@pytest.mark.parametrize("hosts", HOSTS.values(), ids=HOSTS)
def test_messages_near_and_far(run_on_ranks, hosts):
    for count in (0, 9, PIECE):
        assert all(run_on_ranks(sum(map(len, hosts)), exchanged, hosts, count))


def expected_ahead(hosts):
    wire, ranks = in_two_levels(hosts), dist.get_world_size()
    return [wire.receives_ahead(place) for place in range(ranks) if place != dist.get_rank()]


@pytest.mark.parametrize("hosts", [HOSTS["2 + 1"], HOSTS["2 + 2, mixed"]])
def test_only_what_comes_from_another_host_is_expected_ahead(run_on_ranks, hosts):
    ranks = range(sum(map(len, hosts)))
    apart = [[{one, other} not in map(set, hosts) for other in ranks if other != one] for one in ranks]
    assert run_on_ranks(len(ranks), expected_ahead, hosts) == apart


def waited_in_another_order(hosts):
    """Two under way, and one inside the host besides; each rank waits in an order of its own."""
    wire = in_two_levels(hosts)
    rank = dist.get_rank()
    beside = join("data", (0, 1))
    tensors = [torch.ones(2 * PIECE), torch.ones(PIECE), torch.ones(9)]
    works = [wire.all_reduce(tensors[0], "sum"), wire.all_reduce(tensors[1], "sum")]
    if beside is not None and beside.wire is not None:
        works.append(beside.wire.exchange([]))
    gathered = wire.all_gather(tensors[2], [9] * dist.get_world_size())
    works.append(gathered)
    for turn in range(len(works)):
        works[(turn + rank) % len(works)].wait()
    return all(tensor.eq(dist.get_world_size()).all() for tensor in tensors[:2]) and len(gathered.results()[0]) == 9


@pytest.mark.parametrize("hosts", HOSTS.values(), ids=HOSTS)
def test_waiting_in_another_order_than_one_s_neighbour_is_no_deadlock(run_on_ranks, hosts):
    assert all(run_on_ranks(sum(map(len, hosts)), waited_in_another_order, hosts))

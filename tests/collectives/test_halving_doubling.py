"""Halving and doubling's own: doubling of a little, and how many messages it takes. What it has in common with others
is in `test_stepwise`."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from plait.collectives.cheapest import Cheapest
from plait.collectives.halving_doubling import HalvingDoubling
from plait.collectives.peers import Peers
from plait.specs.links import LinkSpeed
from tests.collectives.drawn import drawn
from tests.collectives.stepping import gloo


def doubled(counts):
    """Fractions first, whose bits depend on the order of the sum; then whole numbers, whose sum is exact."""
    wire, oracle = HalvingDoubling(Peers(gloo())), gloo()
    rank, found = dist.get_rank(), []
    for count in counts:
        fractions = torch.rand(count, generator=torch.Generator().manual_seed(rank), dtype=torch.float64)
        wire.double_all(fractions, torch.add)
        ours, theirs = drawn(rank, count), drawn(rank, count)
        wire.double_all(ours, torch.add)
        oracle.all_reduce(theirs, "sum").wait()
        found.append((fractions, torch.equal(ours, theirs)))
    return found


@pytest.mark.parametrize("ranks", [2, 3, 4, 5])
def test_doubling(run_on_ranks, ranks):
    first, *others = run_on_ranks(ranks, doubled, [0, 1, 7, 5000])
    for number, (fractions, same) in enumerate(first):
        assert same
        assert all(torch.equal(fractions, other[number][0]) for other in others)


class Counting(Peers):
    """Counts the messages that leave."""

    sent = 0

    def send(self, tensor, peer):
        self.sent += 1
        return super().send(tensor, peer)


def messages():
    peers = Counting(gloo())
    wire = HalvingDoubling(peers)
    counts = []
    for call in (wire.reduce_all, wire.double_all):
        before = peers.sent
        call(torch.ones(100), torch.add)
        counts.append(peers.sent - before)
    return counts


@pytest.mark.parametrize(
    ("ranks", "halving", "doubling"), [(2, [2, 2], [1, 1]), (4, [4] * 4, [2] * 4), (3, [3, 2, 1], [2, 1, 1])]
)
def test_how_many_messages_leave_a_rank(run_on_ranks, ranks, halving, doubling):
    found = run_on_ranks(ranks, messages)
    assert [counts[0] for counts in found] == halving
    assert [counts[1] for counts in found] == doubling


def chosen(ranks):
    """Sizes that each of the algorithms is cheapest for; all the same sum."""
    wire = Cheapest(Peers(gloo()), LinkSpeed(alpha=1e-3, bytes_per_second=1e8))
    found = []
    for count in (10, 100_000, 1_000_000):
        ours, theirs = drawn(dist.get_rank(), count), drawn(dist.get_rank(), count)
        wire.all_reduce(ours, "sum").wait()
        gloo().all_reduce(theirs, "sum").wait()
        found.append(torch.equal(ours, theirs))
    return found


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_cheapest_sums_the_same(run_on_ranks, ranks):
    assert run_on_ranks(ranks, chosen, ranks) == [[True] * 3] * ranks

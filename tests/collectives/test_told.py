"""What the planner says performs a sum is what the wire performs it by: the wire that `meet` makes, watched at work.

Hosts are pretended: each rank says that it stands on the one where the test has put it.
"""

from __future__ import annotations

from contextlib import ExitStack
from itertools import accumulate
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist

from plait.collectives import meeting
from plait.collectives.c10d import C10d
from plait.collectives.halving_doubling import HalvingDoubling
from plait.collectives.ring import Ring
from plait.planner.communication_cost import CommunicationCost
from plait.planner.spread import Spread
from plait.specs.catalogue import speed_between
from plait.specs.links import LinkSpeed
from tests.planner.machines import machine

WAYS = {
    "gloo": (C10d, "all_reduce"),
    "ring": (Ring, "reduce_all"),
    "halving-doubling": (HalvingDoubling, "reduce_all"),
    "doubling": (HalvingDoubling, "double_all"),
}
COUNTS = (5, 20_000, 1_500_000)  # of float32; in two levels the last goes in two pieces
FAST = speed_between("ethernet-100gbit")
SLOW = LinkSpeed(alpha=1e-2, bytes_per_second=1e8)


def performed(hosts, link):
    """By what a sum of each count is begun on this rank; "" where nothing of it crosses here."""
    rank = dist.get_rank()
    host = 1 + next(number for number, end in enumerate(accumulate(hosts)) if rank < end)
    with patch.object(meeting, "host_identity", lambda: host):
        wire = meeting.meet(dist.group.WORLD, range(sum(hosts)), rank, 30.0, link)
    found = []
    for count in COUNTS:
        seen = []
        with ExitStack() as watch:
            for name, (wires, method) in WAYS.items():
                watch.enter_context(patch.object(wires, method, noting(name, getattr(wires, method), seen)))
            wire.all_reduce(torch.ones(count), "sum").wait()
        found.append(seen[0] if seen else "")
    return found


def noting(name, method, seen):
    def watched(self, *args):
        seen.append(name)
        return method(self, *args)

    return watched


@pytest.mark.parametrize(
    ("hosts", "link", "told"),
    [
        ((1, 1), FAST, ["gloo", "gloo", "gloo"]),
        ((1, 1, 1, 1), SLOW, ["doubling", "doubling", "halving-doubling"]),
        ((2, 2), FAST, ["two levels, doubling across"] * 3),
        ((2, 1), SLOW, ["two levels, doubling across"] * 3),
        ((2, 2, 2), SLOW, [f"two levels, {name} across" for name in ("doubling", "doubling", "ring")]),
    ],
    ids=str,
)
def test_a_sum_is_performed_by_what_is_told(run_on_ranks, hosts, link, told):
    cost = CommunicationCost(machine(cores=4, backend="shared-memory"))
    cost.between = link
    assert [cost.algorithm("all_reduce", Spread(hosts=hosts), 4 * count) for count in COUNTS] == told
    across = [words.removeprefix("two levels, ").removesuffix(" across") for words in told]
    crossing = [place < min(hosts) for many in hosts for place in range(many)]
    found = run_on_ranks(sum(hosts), performed, hosts, link)
    assert found == [across if crosses else [""] * len(COUNTS) for crosses in crossing]

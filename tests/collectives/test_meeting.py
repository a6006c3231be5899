"""Which wire a group gets: by its ranks' hosts, and by whether they share memory. Hosts are pretended."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist

from plait.collectives import meeting
from plait.specs.catalogue import ASSUMED_SPEED
from tests.collectives.drawn import drawn
from tests.collectives.stepping import gloo


def met(hosts, sharing):
    """The wire of ranks on such hosts, and whether its sum and its reduce-scatter are gloo's."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    with (
        patch.object(meeting, "host_identity", lambda: 7 + hosts[rank]),
        patch.object(meeting, "can_share", lambda: sharing[rank]),
    ):
        wire = meeting.meet(dist.group.WORLD, range(ranks), rank, 30.0, ASSUMED_SPEED)
    if wire is None:
        return None, True
    ours, theirs = drawn(rank, 999), drawn(rank, 999)
    wire.all_reduce(ours, "sum").wait()
    gloo().all_reduce(theirs, "sum").wait()
    parts = [drawn(ranks * rank + place, 5) for place in range(ranks)]
    sums = [one.reduce_scatter(parts).wait()[0] for one in (wire, gloo())]
    return type(wire).__name__, torch.equal(ours, theirs) and torch.equal(*sums)


@pytest.mark.parametrize(
    ("hosts", "sharing", "wire"),
    [
        ((0, 0, 0), (True, True, True), "SharedMemory"),
        ((0, 0, 0), (True, False, True), None),
        ((0, 1, 2), (True, True, True), "BetweenHosts"),
        ((0, 1, 2), (False, False, False), "BetweenHosts"),  # needs no memory: processors other than x86's, say
        ((0, 0, 1), (True, True, True), "Hierarchical"),
        ((0, 0, 1), (True, True, False), "BetweenHosts"),
    ],
    ids=str,
)
def test_by_hosts_and_by_memory(run_on_ranks, hosts, sharing, wire):
    assert run_on_ranks(3, met, hosts, sharing) == [(wire, True)] * 3

"""The wire of hosts with one rank each takes gloo's all-reduce or one of ours, as `sharding.all_reduce` says."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from plait.collectives.background import Task
from plait.collectives.between_hosts import BetweenHosts
from plait.collectives.process_groups import build_mesh
from plait.sharding.all_reduce import algorithm_between
from plait.sharding.mesh_shape import MeshShape
from plait.specs.links import LinkSpeed
from tests.collectives.drawn import drawn
from tests.collectives.stepping import gloo

LINKS = {
    "few bytes and hardly a wait": LinkSpeed(alpha=1e-6, bytes_per_second=1e9),
    "a long way": LinkSpeed(alpha=10.0, bytes_per_second=1e9),
}


def summed(link):
    """Of two sizes, whether ours summed it, and whether the sum is gloo's."""
    handle, found = dist.group.WORLD, []
    wire = BetweenHosts(handle, range(dist.get_world_size()), dist.get_rank(), link)
    for count in (5, 100_000):
        ours, theirs = drawn(dist.get_rank(), count), drawn(dist.get_rank(), count)
        work = wire.all_reduce(ours, "sum")
        work.wait()
        gloo().all_reduce(theirs, "sum").wait()
        found.append((isinstance(work, Task), torch.equal(ours, theirs)))
    return found


@pytest.mark.parametrize("name", LINKS)
def test_it_takes_what_is_cheapest_on_its_link(run_on_ranks, name):
    link = LINKS[name]
    expected = [(algorithm_between(8 * count, (1, 1, 1), link) != "gloo", True) for count in (5, 100_000)]
    assert {ours for ours, _ in expected} == {name == "a long way"}
    assert run_on_ranks(3, summed, link) == [expected] * 3


def links_of_meshes():
    """A mesh has the link that it was given, also for the groups that it makes later."""
    link = LinkSpeed(alpha=1.0, bytes_per_second=1.0)
    shape = MeshShape(data=dist.get_world_size())
    told, untold = build_mesh(shape, link), build_mesh(shape)
    return told.link == link, untold.link != link, told.axis("data").wire is not untold.axis("data").wire


def test_a_mesh_keeps_the_link_that_it_is_told(run_on_ranks):
    assert run_on_ranks(2, links_of_meshes) == [(True, True, True)] * 2

"""Groups along one axis sum in one order wherever they stand: tensor ranks must not drift apart by a rounding. Hosts
are pretended."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist

from plait.collectives import meeting, process_groups
from plait.planner.spread import spread_of
from plait.sharding.mesh_shape import AXES, MeshShape
from plait.sharding.standing import stand_alike


def sums(shape, hosts):
    """Of each axis what this rank's group sums, of numbers that depend on the place along the axis alone; its wire."""
    host = 7 + hosts[dist.get_rank()]
    with (
        patch.object(meeting, "host_identity", lambda: host),
        patch.object(process_groups, "_made", {}),
        patch.object(process_groups, "_hosts", {}),
    ):
        mesh = process_groups.build_mesh(shape)
        found = {}
        for axis in AXES:
            group = mesh.axis(axis)
            if group.wire is not None:
                flat = torch.randn(1000, generator=torch.Generator().manual_seed(group.index))
                group.wire.all_reduce(flat, "sum").wait()
                found[axis] = (flat, type(group.wire).__name__)
        return found


@pytest.mark.parametrize(
    ("shape", "hosts", "wires"),
    [
        (MeshShape(data=3, tensor=2), (0, 0, 0, 1, 1, 1), {"data": "BetweenHosts", "tensor": "BetweenHosts"}),
        (MeshShape(data=3, pipeline=2), (0, 0, 0, 1, 1, 1), {"data": "SharedMemory", "pipeline": "BetweenHosts"}),
        (MeshShape(data=2, pipeline=3), (0, 0, 0, 1, 1, 1), {"data": "BetweenHosts", "pipeline": "BetweenHosts"}),
        (MeshShape(data=3, tensor=2), (0, 0, 1, 1, 1, 1), {"data": "Hierarchical", "tensor": "SharedMemory"}),
    ],
    ids=str,
)
def test_all_groups_of_an_axis_sum_alike(run_on_ranks, shape, hosts, wires):
    told = run_on_ranks(6, sums, shape, hosts)
    assert {axis: name for axis, (_, name) in told[0].items()} == wires
    for axis in wires:
        first, *others = (one[axis][0] for one in told)
        assert all(torch.equal(first, other) for other in others), axis


def test_the_planner_takes_ranks_as_the_wire_does():
    shape = MeshShape(data=3, tensor=2)
    assert spread_of(shape, "data", 3).hosts == (1, 1, 1)
    assert spread_of(shape, "tensor", 3).hosts == (1, 1)
    assert spread_of(shape, "data", 2).hosts == (1, 1, 1)
    assert spread_of(shape, "tensor", 2).hosts == (2,)


def test_patterns_are_by_place():
    assert stand_alike([(0, 1), (2, 3)], [0, 0, 1, 1])
    assert stand_alike([(0, 2), (1, 3)], [0, 1, 2, 0])
    assert not stand_alike([(0, 1), (2, 3)], [0, 0, 1, 2])
    assert stand_alike([(0, 1, 2)], [0, 1, 0])

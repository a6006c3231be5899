"""Where the ranks of a group stand, counted by hand; ranks are numbered host by host."""

from __future__ import annotations

import pytest

from plait.planner.spread import Spread, inside, neighbours, spread_of
from plait.sharding.mesh_shape import MeshShape


@pytest.mark.parametrize(
    ("mesh", "axis", "a_node", "hosts", "groups"),
    [
        (MeshShape(data=4), "data", 4, (4,), 1),
        (MeshShape(data=4), "data", 2, (2, 2), 1),
        (MeshShape(data=2, tensor=2), "tensor", 2, (2,), 1),
        (MeshShape(data=2, tensor=2), "data", 2, (1, 1), 2),
        (MeshShape(pipeline=2, data=2), "data", 2, (2,), 1),
        (MeshShape(pipeline=2, data=2), "pipeline", 2, (1, 1), 2),
        (MeshShape(tensor=3, data=2), "tensor", 2, (1, 1, 1), 2),  # 0 1 | 2 3 | 4 5: two groups meet on the second host
        (MeshShape(data=8), "data", 1, (1,) * 8, 1),
    ],
)
def test_by_hand(mesh, axis, a_node, hosts, groups):
    assert spread_of(mesh, axis, a_node) == Spread(hosts=hosts, groups=groups)


def test_some_places_of_an_axis():
    mesh = MeshShape(pipeline=4)
    assert spread_of(mesh, "pipeline", 2, (0, 1)) == inside(2)
    assert spread_of(mesh, "pipeline", 2, (0, 3)) == Spread(hosts=(1, 1))
    assert spread_of(mesh, "pipeline", 4, (0, 3)) == inside(2)


def test_neighbours_of_a_pipeline():
    assert neighbours(MeshShape(pipeline=2, data=2), 4) == inside(2)
    assert neighbours(MeshShape(pipeline=2, data=2), 2) == Spread(hosts=(1, 1), groups=2)
    assert neighbours(MeshShape(pipeline=4), 2) == Spread(hosts=(1, 1))  # the second and the third alone

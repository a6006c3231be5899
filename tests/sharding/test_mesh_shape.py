"""Ranks and coordinates are two names of one place, and the groups of an axis are a partition of the ranks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.sharding.mesh_shape import AXES, MeshShape
from tests.sharding.drawn import MESHES


def test_the_drawing_is_true():
    """pipeline 2, data 2, tensor 2, as in the module's first lines."""
    mesh = MeshShape(pipeline=2, data=2, tensor=2)
    assert mesh.groups("tensor") == ((0, 1), (2, 3), (4, 5), (6, 7))
    assert mesh.groups("data") == ((0, 2), (1, 3), (4, 6), (5, 7))
    assert mesh.groups("pipeline") == ((0, 4), (1, 5), (2, 6), (3, 7))


def coordinates(mesh: MeshShape, rank: int) -> dict[str, int]:
    return {axis: mesh.coordinate(rank, axis) for axis in AXES}


@given(MESHES)
def test_a_rank_is_where_its_coordinates_say(mesh):
    places = [coordinates(mesh, rank) for rank in range(mesh.ranks)]
    assert [mesh.rank_at(**place) for place in places] == list(range(mesh.ranks))
    assert all(0 <= place[axis] < mesh.size(axis) for place in places for axis in AXES)


@given(MESHES, st.sampled_from(AXES))
def test_the_groups_of_an_axis_are_a_partition(mesh, axis):
    groups = mesh.groups(axis)
    assert sorted(rank for group in groups for rank in group) == list(range(mesh.ranks))
    assert {len(group) for group in groups} == {mesh.size(axis)}
    assert list(groups) == sorted(groups)


@given(MESHES, st.sampled_from(AXES), st.data())
def test_a_group_differs_along_its_axis_alone(mesh, axis, data):
    rank = data.draw(st.integers(0, mesh.ranks - 1))
    group = mesh.group(rank, axis)
    assert group[mesh.coordinate(rank, axis)] == rank
    assert [mesh.coordinate(member, axis) for member in group] == list(range(mesh.size(axis)))
    assert all(
        coordinates(mesh, member) == {**coordinates(mesh, rank), axis: place} for place, member in enumerate(group)
    )
    assert all(mesh.group(member, axis) == group for member in group)


@given(MESHES)
def test_tensor_ranks_are_neighbours(mesh):
    assert all(group == tuple(range(group[0], group[0] + mesh.tensor)) for group in mesh.groups("tensor"))


@given(MESHES)
def test_the_ranks_are_the_product(mesh):
    assert mesh.ranks == mesh.size("pipeline") * mesh.size("data") * mesh.size("tensor")


@pytest.mark.parametrize("ask", [lambda mesh: mesh.size("model"), lambda mesh: mesh.coordinate(0, "model")])
def test_there_is_no_other_axis(ask):
    with pytest.raises(KeyError):
        ask(MeshShape())


def test_the_hosts_on_which_groups_stand():
    mesh = MeshShape(pipeline=2, data=2, tensor=2)
    spread = {
        a_host: [mesh.hosts_along(axis, a_host) for axis in ("tensor", "data", "pipeline")] for a_host in range(9)
    }
    assert spread[0] == spread[8] == [1, 1, 1], "one host"
    assert spread[4] == [1, 1, 2]
    assert spread[2] == [1, 2, 2]
    assert spread[1] == [2, 2, 2]
    assert spread[3] == [2, 2, 2], "ranks 2 and 3 are apart"

"""Where a rank stands: groups along each axis, some of their members, and no group made twice."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from plait.collectives.functional import all_reduce
from plait.collectives.process_groups import build_mesh
from plait.errors import PlaitError
from plait.sharding.mesh_shape import AXES, MeshShape

FACTORINGS = [
    MeshShape(pipeline=pipeline, data=data, tensor=4 // pipeline // data)
    for pipeline in (1, 2, 4)
    for data in (1, 2, 4)
    if 4 % (pipeline * data) == 0
]


def stand(shape):
    """This rank's groups as it sees them, and the sum of all members' ranks along each axis."""
    mesh = build_mesh(shape)
    assert mesh.rank == dist.get_rank()
    found = {}
    for axis in AXES:
        group = mesh.axis(axis)
        total = all_reduce(torch.tensor([mesh.rank]), group).wait().item()
        found[axis] = (group.ranks, group.index, mesh.coordinate(axis), total)
    return found


@pytest.mark.parametrize("shape", FACTORINGS, ids=str)
def test_each_axis_joins_its_neighbours(run_on_ranks, shape):
    for rank, found in enumerate(run_on_ranks(4, stand, shape)):
        for axis, (ranks, index, coordinate, total) in found.items():
            assert ranks == shape.group(rank, axis)
            assert index == coordinate == shape.coordinate(rank, axis)
            assert total == sum(ranks)


SETS = [(1, 2), (0, 1), (0, 3), (2,), (0, 1, 2, 3)]


def join_subsets(shape, axis):
    mesh = build_mesh(shape)
    groups = mesh.subsets(axis, SETS)
    sums = {members: all_reduce(torch.tensor([mesh.rank]), group).wait().item() for members, group in groups.items()}
    return [(members, group.ranks, group.index, sums[members]) for members, group in groups.items()]


@pytest.mark.parametrize("shape", [MeshShape(tensor=4), MeshShape(pipeline=4)], ids=str)
def test_subsets_are_the_ones_that_a_rank_is_in(run_on_ranks, shape):
    axis = "tensor" if shape.tensor == 4 else "pipeline"
    for rank, found in enumerate(run_on_ranks(4, join_subsets, shape, axis)):
        assert found == [
            (members, members, members.index(rank), sum(members)) for members in sorted(SETS) if rank in members
        ]


def join_half_of_two():
    mesh = build_mesh(MeshShape(data=2, tensor=2))
    return {members: group.ranks for members, group in mesh.subsets("tensor", [(0, 1), (1,)]).items()}


def test_members_are_places_along_the_axis_not_ranks(run_on_ranks):
    assert run_on_ranks(4, join_half_of_two) == [
        {(0, 1): (0, 1)},
        {(0, 1): (0, 1), (1,): (1,)},
        {(0, 1): (2, 3)},
        {(0, 1): (2, 3), (1,): (3,)},
    ]


def count_groups_over(rounds):
    counts = []
    for _ in range(rounds):
        for shape in FACTORINGS:
            build_mesh(shape).subsets("tensor", [(0, 1)] if shape.tensor > 1 else [])
        counts.append(len(distributed_c10d._world.pg_map))
    return counts


def test_meshes_share_their_groups(run_on_ranks):
    for counts in run_on_ranks(4, count_groups_over, 5):
        assert len(set(counts)) == 1
        assert counts[0] <= 1 + 1 + 4 * 3 // 2  # the world, all four along one axis, and pairs


def handles():
    first, second = build_mesh(MeshShape(data=2)), build_mesh(MeshShape(tensor=2))
    return first.axis("data").wire is second.axis("tensor").wire is not None


def test_the_same_ranks_along_another_axis_are_the_same_group(run_on_ranks):
    assert run_on_ranks(2, handles) == [True, True]


def build_too_large(shape):
    try:
        build_mesh(shape)
    except PlaitError as error:
        return str(error)
    return "it was built"


@pytest.mark.parametrize("shape", [MeshShape(), MeshShape(data=3), MeshShape(pipeline=2, tensor=2)], ids=str)
def test_a_world_of_another_size_is_refused(run_on_ranks, shape):
    ranks = shape.ranks
    message = f"the plan occupies {ranks} ranks and 2 are running; start {ranks}, or plan for 2"
    assert run_on_ranks(2, build_too_large, shape) == [message] * 2


def test_one_process_alone_is_a_mesh():
    mesh = build_mesh(MeshShape())
    assert mesh.rank == 0
    assert [mesh.axis(axis).size for axis in AXES] == [1, 1, 1]
    assert "the plan occupies 2 ranks and 1 are running" in build_too_large(MeshShape(data=2))

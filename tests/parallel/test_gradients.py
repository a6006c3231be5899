"""The sums that are left after backward, the one norm, and clipping by it, against torch's own."""

from __future__ import annotations

import pytest
import torch

from plait.collectives.process_groups import build_mesh
from plait.parallel.gradients import clip, global_norm, perform_reductions, piece_of
from plait.plans.holdings import Piece
from plait.plans.reductions import Reduction
from plait.sharding.mesh_shape import MeshShape


def whole_numbers(owner, *shape):
    return torch.randint(-9, 10, shape, generator=torch.Generator().manual_seed(owner)).double()


@pytest.mark.parametrize("limit", [0.5, 1e3])
def test_clipping_is_torch_s(limit):
    gradients = [whole_numbers(0, 5, 3), whole_numbers(1, 7)]
    weights = [torch.nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient.clone()
    expected = torch.nn.utils.clip_grad_norm_(weights, limit)
    norm = global_norm(gradients, build_mesh(MeshShape()))
    clip(gradients, norm, limit)
    assert norm == expected.item()
    for weight, gradient in zip(weights, gradients, strict=True):
        assert torch.equal(gradient, weight.grad)


def test_gradients_below_the_limit_keep_their_bits():
    gradient = torch.full((3,), 0.1)
    clip([gradient], norm=0.99, limit=1.0)
    assert torch.equal(gradient, torch.full((3,), 0.1))


def norm_of_parts(shape):
    mesh = build_mesh(shape)
    empty_handed = mesh.rank == 1
    return global_norm([] if empty_handed else [whole_numbers(mesh.rank, 4), whole_numbers(10 + mesh.rank, 2, 3)], mesh)


@pytest.mark.parametrize("shape", [MeshShape(tensor=3), MeshShape(pipeline=3)], ids=str)
def test_the_norm_is_of_all_that_the_ranks_count(run_on_ranks, shape):
    counted = [part for rank in (0, 2) for part in (whole_numbers(rank, 4), whole_numbers(10 + rank, 6))]
    expected = torch.cat(counted).norm().item()
    assert run_on_ranks(3, norm_of_parts, shape) == [pytest.approx(expected, rel=1e-15)] * 3


def norm_of_replicas():
    return global_norm([torch.full((4,), 3.0)], build_mesh(MeshShape(data=2)))


def test_data_replicas_hold_the_same_gradients_and_count_once(run_on_ranks):
    assert run_on_ranks(2, norm_of_replicas) == [6.0, 6.0]


def norm_of_shares():
    return global_norm([torch.full((4,), 3.0)], build_mesh(MeshShape(data=2)), ("data",))


def test_data_ranks_that_hold_different_gradients_count_them_all(run_on_ranks):
    assert run_on_ranks(2, norm_of_shares) == [72.0**0.5] * 2


def piece(name, dim, start, stop):
    return Piece(name=name, dim=dim, start=start, stop=stop)


def test_a_piece_is_a_view():
    tensor = torch.zeros(3, 4)
    piece_of({"a": tensor}, piece("a", 1, 1, 3)).fill_(1.0)
    assert tensor.tolist() == [[0.0, 1.0, 1.0, 0.0]] * 3


STEPS = [
    Reduction(axis="tensor", members=(0, 1), pieces=(piece("a", 0, 1, 2), piece("b", 1, 0, 2)), elements=4 + 6),
    Reduction(axis="tensor", members=(1, 2), pieces=(piece("a", 0, 2, 3),), elements=4),
]


def reduce_pieces():
    mesh = build_mesh(MeshShape(tensor=3))
    gradients = {"a": whole_numbers(mesh.rank, 3, 4), "b": whole_numbers(10 + mesh.rank, 3, 3)}
    groups = mesh.subsets("tensor", {step.members for step in STEPS})
    perform_reductions(gradients, [(step, groups[step.members]) for step in STEPS if step.members in groups])
    return gradients


def test_pieces_are_summed_over_their_members_and_nothing_else_is(run_on_ranks):
    expected = [{"a": whole_numbers(rank, 3, 4), "b": whole_numbers(10 + rank, 3, 3)} for rank in range(3)]
    row_sum = expected[0]["a"][1] + expected[1]["a"][1]
    column_sum = expected[0]["b"][:, :2] + expected[1]["b"][:, :2]
    last_sum = expected[1]["a"][2] + expected[2]["a"][2]
    for rank in (0, 1):
        expected[rank]["a"][1], expected[rank]["b"][:, :2] = row_sum, column_sum
    for rank in (1, 2):
        expected[rank]["a"][2] = last_sum
    for found, wanted in zip(run_on_ranks(3, reduce_pieces), expected, strict=True):
        assert torch.equal(found["a"], wanted["a"])
        assert torch.equal(found["b"], wanted["b"])

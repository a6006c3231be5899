"""The table of collectives, performed on small tensors: each takes what one placement holds to what the other holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.sharding.boxes import shares
from plait.sharding.placement import Partial, Placement, Replicate, Shard
from plait.sharding.redistribute import Move, Transition, collective_between
from plait.sharding.rules import SEQUENCE_DIM, crossing

Array = np.ndarray
PLACEMENTS: list[Placement] = [Replicate(), Shard(0), Shard(1), Partial()]
SHAPE = (5, 7)


def split(whole: Array, dim: int, ranks: int) -> list[Array]:
    return [np.take(whole, range(*interval), axis=dim) for interval in shares(whole.shape[dim], (1,) * ranks)]


def place(whole: Array, placement: Placement, ranks: int) -> list[Array]:
    """What each rank holds of a tensor that is placed so."""
    match placement:
        case Replicate():
            return [whole] * ranks
        case Shard(dim):
            return split(whole, dim, ranks)
        case Partial():
            pieces = [np.random.default_rng(rank).integers(-9, 9, whole.shape) for rank in range(ranks - 1)]
            return [*pieces, whole - sum(pieces, np.zeros_like(whole))]


def perform(held: list[Array], move: Move) -> list[Array]:
    """What a collective library would do; each collective sees only what its name allows."""
    ranks, source, target = len(held), move.source, move.target
    total = sum(held[1:], held[0]) if isinstance(source, Partial) else None
    gathered = np.concatenate(held, axis=source.dim) if isinstance(source, Shard) else None
    match move.collective:
        case None:
            return held
        case "all_reduce":
            return [total] * ranks
        case "reduce_scatter":
            return split(total, target.dim, ranks)
        case "all_gather":
            return [gathered] * ranks
        case "all_to_all":
            return split(gathered, target.dim, ranks)
        case "slice":
            return [split(mine, target.dim, ranks)[rank] for rank, mine in enumerate(held)]
        case other:
            raise AssertionError(other)


@pytest.mark.parametrize("target", PLACEMENTS[:3])
@pytest.mark.parametrize("source", PLACEMENTS)
@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_the_collective_makes_the_target_of_the_source(source, target, ranks):
    whole = np.arange(35).reshape(SHAPE)
    made = perform(place(whole, source, ranks), Move(source=source, target=target))
    for mine, wanted in zip(made, place(whole, target, ranks), strict=True):
        np.testing.assert_array_equal(mine, wanted)


@pytest.mark.parametrize(
    ("source", "target", "kind"),
    [
        (Partial(), Replicate(), "all_reduce"),
        (Partial("max"), Replicate(), "all_reduce"),
        (Partial(), Shard(1), "reduce_scatter"),
        (Shard(1), Replicate(), "all_gather"),
        (Shard(0), Shard(1), "all_to_all"),
        (Replicate(), Shard(0), "slice"),
        (Replicate(), Replicate(), None),
        (Shard(1), Shard(1), None),
        (Partial(), Partial(), None),
    ],
)
def test_the_table(source, target, kind):
    assert collective_between(source, target) == kind
    assert Move(source=source, target=target).collective == kind


@pytest.mark.parametrize(
    ("source", "target"),
    [(Replicate(), Partial()), (Shard(0), Partial()), (Partial("max"), Shard(0)), (Partial(), Partial("max"))],
)
def test_what_no_collective_makes(source, target):
    with pytest.raises(ValueError, match="no collective"):
        collective_between(source, target)


# ---- forward and backward, on a layer -------------------------------------------------------------------------------


def move(held: list[Array], one: Move) -> list[Array]:
    """Moves are along dim 1 of (batch, sequence, features); here there is no batch, so that it is dim 0."""
    flat = {Shard(SEQUENCE_DIM): Shard(0)}
    return perform(held, Move(source=flat.get(one.source, one.source), target=flat.get(one.target, one.target)))


@given(st.integers(1, 4), st.booleans(), st.integers(0, 1000))
def test_a_split_layer_is_the_whole_one_forward_and_backward(ranks, sequence_parallel, seed):
    """y = x A B, A split by columns and B by rows: values and gradients after the crossings are the whole layer's."""
    draw = np.random.default_rng(seed).integers
    x, a, b, dy = draw(-5, 5, (6, 3)), draw(-5, 5, (3, 7)), draw(-5, 5, (7, 3)), draw(-5, 5, (6, 3))
    enter = crossing("enter", sequence_parallel=sequence_parallel)
    leave = crossing("leave", sequence_parallel=sequence_parallel)
    residual = Shard(0) if sequence_parallel else Replicate()
    a_of, b_of = split(a, 1, ranks), split(b, 0, ranks)

    inside = move(place(x, residual, ranks), enter.value)
    y = move([x_r @ a_r @ b_r for x_r, a_r, b_r in zip(inside, a_of, b_of, strict=True)], leave.value)
    dy_inside = move(place(dy, residual, ranks), leave.gradient)
    dx = move([dy_r @ b_r.T @ a_r.T for dy_r, a_r, b_r in zip(dy_inside, a_of, b_of, strict=True)], enter.gradient)

    for made, wanted in ((y, place(x @ a @ b, residual, ranks)), (dx, place(dy @ b.T @ a.T, residual, ranks))):
        for mine, due in zip(made, wanted, strict=True):
            np.testing.assert_array_equal(mine, due)


@pytest.mark.parametrize("sequence_parallel", [False, True])
@pytest.mark.parametrize("kind", ["enter", "leave"])
def test_the_way_back_ends_where_the_way_began(kind, sequence_parallel):
    """A value and its gradient stand at the same place; what is partial on one side is whole on the other."""
    there = crossing(kind, sequence_parallel=sequence_parallel)
    assert isinstance(there, Transition)
    dual = {Partial(): Replicate(), Replicate(): Partial()}
    ends = [(there.value.source, there.gradient.target), (there.value.target, there.gradient.source)]
    residual = Shard(SEQUENCE_DIM) if sequence_parallel else Replicate()
    for value, gradient in ends:
        assert gradient == (residual if value == residual and gradient == residual else dual.get(value, value))

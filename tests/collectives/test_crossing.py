"""Crossings forward and backward against autograd on one rank that has everything.

enter    y_r = x on every rank            loss = Σ_r Σ y_r g_r        dx = Σ_r g_r
leave    y = Σ_r p_r                      loss = Σ y g                dp_r = g
"""

from __future__ import annotations

import pytest
import torch

from plait.collectives.crossing import cross
from plait.collectives.functional import own_share
from plait.collectives.recorder import record
from plait.sharding.placement import Replicate, Shard
from plait.sharding.redistribute import Move, Transition
from plait.sharding.rules import SEQUENCE_DIM, crossing
from tests.collectives.drawn import drawn, tensor_group

CASES = [(ranks, length) for ranks in (2, 3) for length in (6, 7)]
BATCH, HIDDEN = 2, 4


def local(whole, group, sequence_parallel):
    """What a rank has of the residual stream, as a leaf."""
    found = own_share(whole, group, SEQUENCE_DIM) if sequence_parallel else whole
    return found.clone().requires_grad_()


def enter(ranks, length, sequence_parallel):
    group = tensor_group(ranks)
    x = local(drawn(100, BATCH, length, HIDDEN), group, sequence_parallel)
    y = cross(x, crossing("enter", sequence_parallel=sequence_parallel), group, length)
    y.backward(drawn(group.index, BATCH, length, HIDDEN))
    return y.detach(), x.grad


@pytest.mark.parametrize("sequence_parallel", [False, True])
@pytest.mark.parametrize(("ranks", "length"), CASES)
def test_what_enters_is_whole_and_its_gradients_are_summed(run_on_ranks, ranks, length, sequence_parallel):
    gradient = torch.stack([drawn(rank, BATCH, length, HIDDEN) for rank in range(ranks)]).sum(0)
    for rank, (y, found) in enumerate(run_on_ranks(ranks, enter, ranks, length, sequence_parallel)):
        assert torch.equal(y, drawn(100, BATCH, length, HIDDEN))
        assert torch.equal(found, share(gradient, ranks, rank) if sequence_parallel else gradient)


def leave(ranks, length, sequence_parallel):
    group = tensor_group(ranks)
    part = drawn(group.index, BATCH, length, HIDDEN).requires_grad_()
    y = cross(part * 1, crossing("leave", sequence_parallel=sequence_parallel), group, length)
    y.backward(local(drawn(100, BATCH, length, HIDDEN), group, sequence_parallel).detach())
    return y.detach(), part.grad


@pytest.mark.parametrize("sequence_parallel", [False, True])
@pytest.mark.parametrize(("ranks", "length"), CASES)
def test_what_leaves_is_summed_and_its_gradient_is_whole(run_on_ranks, ranks, length, sequence_parallel):
    total = torch.stack([drawn(rank, BATCH, length, HIDDEN) for rank in range(ranks)]).sum(0)
    for rank, (y, found) in enumerate(run_on_ranks(ranks, leave, ranks, length, sequence_parallel)):
        assert torch.equal(y, share(total, ranks, rank) if sequence_parallel else total)
        assert torch.equal(found, drawn(100, BATCH, length, HIDDEN))


def share(whole, ranks, rank):
    return whole.tensor_split(ranks, SEQUENCE_DIM)[rank]


def columns_then_rows(ranks, length, sequence_parallel):
    """Two products with an activation between them, as in every layer: this rank's columns, then its rows."""
    group = tensor_group(ranks)
    x = local(drawn(100, BATCH, length, HIDDEN), group, sequence_parallel)
    up, down = (weight.requires_grad_() for weight in own_weights(group.index))
    whole = cross(x, crossing("enter", sequence_parallel=sequence_parallel), group, length)
    part = torch.relu(whole @ up) @ down
    y = cross(part, crossing("leave", sequence_parallel=sequence_parallel), group, length)
    y.square().sum().backward()
    return y.detach(), x.grad, up.grad, down.grad


def own_weights(rank):
    return drawn(200 + rank, HIDDEN, 3), drawn(300 + rank, 3, HIDDEN)


@pytest.mark.parametrize("sequence_parallel", [False, True])
@pytest.mark.parametrize(("ranks", "length"), CASES)
def test_a_split_layer_is_the_whole_layer(run_on_ranks, ranks, length, sequence_parallel):
    weights = [own_weights(rank) for rank in range(ranks)]
    up = torch.cat([columns for columns, _ in weights], 1).requires_grad_()
    down = torch.cat([rows for _, rows in weights]).requires_grad_()
    x = drawn(100, BATCH, length, HIDDEN).requires_grad_()
    y = torch.relu(x @ up) @ down
    y.square().sum().backward()
    for rank, found in enumerate(run_on_ranks(ranks, columns_then_rows, ranks, length, sequence_parallel)):
        own_up, own_down = up.grad[:, 3 * rank : 3 * rank + 3], down.grad[3 * rank : 3 * rank + 3]
        residual = [share(one, ranks, rank) if sequence_parallel else one for one in (y, x.grad)]
        for got, expected in zip(found, [*residual, own_up, own_down], strict=True):
            assert torch.equal(got, expected)


def kinds_of_a_layer(ranks, sequence_parallel):
    with record() as recorder:
        columns_then_rows(ranks, 6, sequence_parallel)
    return {(message.kind, message.count) for message in recorder.traffic()}


@pytest.mark.parametrize(
    ("sequence_parallel", "expected"),
    [(False, {("all_reduce", 2)}), (True, {("all_gather", 2), ("reduce_scatter", 2)})],
)
def test_a_layer_sends_what_the_table_says(run_on_ranks, sequence_parallel, expected):
    assert run_on_ranks(2, kinds_of_a_layer, 2, sequence_parallel) == [expected] * 2


def test_alone_nothing_moves():
    x = torch.ones(2, 3, 4)
    assert cross(x, crossing("enter", sequence_parallel=True), tensor_group(1), 3) is x


def cross_by(value, gradient):
    group = tensor_group(2)
    x = drawn(0, BATCH, 7, HIDDEN).requires_grad_()
    y = cross(x, Transition(value=value, gradient=gradient), group, 7)
    y.backward(torch.ones_like(y))
    return y.detach(), x.grad


SLICE, GATHER = Move(source=Replicate(), target=Shard(1)), Move(source=Shard(1), target=Replicate())


def test_a_replicated_value_is_sliced(run_on_ranks):
    for rank, (y, gradient) in enumerate(run_on_ranks(2, cross_by, SLICE, GATHER)):
        assert torch.equal(y, share(drawn(0, BATCH, 7, HIDDEN), 2, rank))
        assert torch.equal(gradient, torch.ones(BATCH, 7, HIDDEN, dtype=torch.float64))


def refuse():
    try:
        cross_by(Move(source=Shard(1), target=Shard(2)), GATHER)
    except ValueError as error:
        return str(error)
    return "it was done"


def test_an_all_to_all_is_no_crossing(run_on_ranks):
    assert run_on_ranks(2, refuse) == ["no crossing of a layer takes a all_to_all"] * 2

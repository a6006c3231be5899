"""Every collective against plain torch on all ranks' tensors together, with shares that go even and that don't."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.distributed as dist

from plait.collectives.c10d import C10d
from plait.collectives.functional import (
    all_gather,
    all_gather_in,
    all_gather_of,
    all_reduce,
    all_to_all,
    buffer,
    own_share,
    reduce_scatter,
    reduce_scatter_in,
)
from plait.collectives.recorder import record
from plait.plans.prediction import Traffic
from tests.collectives.drawn import drawn, tensor_group

RANKS = (2, 3, 4)
SHAPE = (5, 7, 6)
DIMS = (0, 1, 2, -1)
AWKWARD = [(ranks, length) for ranks in (3, 4) for length in (2, 5, ranks)]  # also shorter than there are ranks


def reduce_all(ranks, operation):
    group = tensor_group(ranks)
    mine = drawn(group.index, *SHAPE)
    result = all_reduce(mine, group, operation).wait()
    return result, result.data_ptr() == mine.data_ptr()


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("operation", ["sum", "max"])
def test_all_reduce_in_place(run_on_ranks, ranks, operation):
    everyone = torch.stack([drawn(rank, *SHAPE) for rank in range(ranks)])
    expected = everyone.sum(0) if operation == "sum" else everyone.amax(0)
    for result, in_place in run_on_ranks(ranks, reduce_all, ranks, operation):
        assert torch.equal(result, expected)
        assert in_place


def reduce_fractions(ranks, dtype):
    group = tensor_group(ranks)
    return all_reduce(torch.rand(999, generator=torch.Generator().manual_seed(group.index)).to(dtype), group).wait()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_all_ranks_have_the_same_bits(run_on_ranks, dtype):
    first, *others = run_on_ranks(3, reduce_fractions, 3, dtype)
    assert first.dtype == dtype
    assert all(torch.equal(first, other) for other in others)


def gather_columns(ranks):
    """Of a matrix one column each, whose numbers do not lie one after another."""
    group = tensor_group(ranks)
    whole = drawn(0, 50, ranks)
    column = whole[:, group.index : group.index + 1]
    summed = reduce_scatter(whole, group, 1).wait()
    return all_gather(column, group, 1, ranks).wait(), summed, whole


@pytest.mark.parametrize("ranks", RANKS)
def test_numbers_need_not_lie_one_after_another(run_on_ranks, ranks):
    for rank, (together, summed, whole) in enumerate(run_on_ranks(ranks, gather_columns, ranks)):
        assert torch.equal(together, whole)
        assert torch.equal(summed, ranks * whole[:, rank : rank + 1])


def gather(ranks, length, dim):
    group = tensor_group(ranks)
    whole = drawn(0, *shape_with(length, dim))
    return all_gather(own_share(whole, group, dim), group, dim, length).wait(), whole


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize(("ranks", "length"), [(2, 6), *AWKWARD])
def test_all_gather_undoes_own_share(run_on_ranks, ranks, length, dim):
    for result, whole in run_on_ranks(ranks, gather, ranks, length, dim):
        assert torch.equal(result, whole)


def shape_with(length, dim):
    shape = list(SHAPE)
    shape[dim] = length
    return shape


def scatter(ranks, length, dim):
    group = tensor_group(ranks)
    return reduce_scatter(drawn(group.index, *shape_with(length, dim)), group, dim).wait()


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize(("ranks", "length"), [(2, 6), *AWKWARD])
def test_reduce_scatter_gives_each_rank_its_share_of_the_sum(run_on_ranks, ranks, length, dim):
    total = torch.stack([drawn(rank, *shape_with(length, dim)) for rank in range(ranks)]).sum(0)
    found = run_on_ranks(ranks, scatter, ranks, length, dim)
    for result, share in zip(found, total.tensor_split(ranks, dim), strict=True):
        assert torch.equal(result, share)
        assert result.is_contiguous()


def rows_to_all(ranks, dtype):
    group = tensor_group(ranks)
    return all_to_all(drawn(group.index, ranks, 4, 3).to(dtype), group).wait()


@pytest.mark.parametrize("dtype", [torch.float64, torch.int8])
@pytest.mark.parametrize("ranks", RANKS)
def test_all_to_all_gives_each_rank_its_row_of_all(run_on_ranks, ranks, dtype):
    everyone = torch.stack([drawn(rank, ranks, 4, 3).to(dtype) for rank in range(ranks)])
    for rank, result in enumerate(run_on_ranks(ranks, rows_to_all, ranks, dtype)):
        assert torch.equal(result, everyone[:, rank])


def share_is_a_view(ranks):
    whole = drawn(0, 7, 4)
    with record() as recorder:
        share = own_share(whole, tensor_group(ranks), 0)
    return share.shape[0], share._base is whole, recorder.traffic()


def test_own_share_is_a_view_and_no_message(run_on_ranks):
    assert run_on_ranks(3, share_is_a_view, 3) == [(3, True, ()), (2, True, ()), (2, True, ())]


def start_two_then_wait_backwards(ranks):
    group = tensor_group(ranks)
    first = all_reduce(drawn(group.index, 1000), group)
    second = all_gather(drawn(group.index, 2, 3), group, 0, 2 * ranks)
    return second.wait(), first.wait()


def test_a_handle_waits_where_its_caller_does(run_on_ranks):
    for second, first in run_on_ranks(2, start_two_then_wait_backwards, 2):
        assert torch.equal(second, torch.cat([drawn(0, 2, 3), drawn(1, 2, 3)]))
        assert torch.equal(first, drawn(0, 1000) + drawn(1, 1000))


def transposed_inputs(ranks):
    group = tensor_group(ranks)
    turned = drawn(group.index, 4, 6).t()  # (6, 4), not contiguous
    return all_gather(turned, group, 1, 4 * ranks).wait(), reduce_scatter(turned, group, 0).wait()


def test_inputs_need_not_be_contiguous(run_on_ranks):
    turned = [drawn(rank, 4, 6).t() for rank in range(2)]
    for rank, (gathered, scattered) in enumerate(run_on_ranks(2, transposed_inputs, 2)):
        assert torch.equal(gathered, torch.cat(turned, 1))
        assert torch.equal(scattered, (turned[0] + turned[1])[3 * rank : 3 * rank + 3])


def each_once(ranks):
    group = tensor_group(ranks)
    with record() as recorder:
        all_reduce(torch.ones(7, 2), group, "max").wait()
        all_gather(own_share(torch.ones(2, 7), group, 1), group, 1, 7).wait()
        reduce_scatter(torch.ones(7, 5), group, 0).wait()
        all_to_all(torch.ones(3, 5), group).wait()
    return recorder.traffic()


def test_bytes_are_those_of_the_whole_tensor_as_it_is_on_the_wire(run_on_ranks):
    assert (
        run_on_ranks(3, each_once, 3)
        == [
            (
                Traffic(
                    axis="tensor", kind="all_gather", bytes=2 * 9 * 4, count=1
                ),  # 7 on 3 ranks: 3 on the wire for each
                Traffic(axis="tensor", kind="all_reduce", bytes=7 * 2 * 4, count=1),
                Traffic(axis="tensor", kind="all_to_all", bytes=3 * 5 * 4, count=1),
                Traffic(axis="tensor", kind="reduce_scatter", bytes=9 * 5 * 4, count=1),
            )
        ]
        * 3
    )


def alone():
    group = tensor_group(1)
    tensor = drawn(0, 4)
    with record() as recorder:
        results = [
            all_reduce(tensor, group).wait(),
            all_gather(tensor, group, 0, 4).wait(),
            reduce_scatter(tensor, group, 0).wait(),
            all_to_all(tensor, group).wait(),
        ]
    return all(result is tensor for result in results), recorder.traffic()


def test_alone_there_is_nothing_to_say():
    assert not dist.is_initialized()
    assert alone() == (True, ())


# ---- in buffers: tensors one after another, of which each rank has some rows ----------------------------------------

TENSORS = ((5, 3), (7,), (4, 2, 2))
WIRES = ("shared-memory", "gloo")


def on_wire(ranks, name):
    """The group, on shared memory as it is or over gloo."""
    group = tensor_group(ranks)
    return group if name == "shared-memory" else replace(group, wire=C10d(dist.group.WORLD, group.ranks, group.index))


def filled(group, owner):
    """A buffer that holds what `owner` draws, and each rank's rows of the first dim, or columns of the second."""
    tensors = [drawn(owner, *shape) for shape in TENSORS]
    held = buffer(sum(tensor.numel() for tensor in tensors), torch.float64, torch.device("cpu"), group)
    views = [
        view.view(shape)
        for view, shape in zip(held.own.split([tensor.numel() for tensor in tensors]), TENSORS, strict=True)
    ]
    for view, tensor in zip(views, tensors, strict=True):
        view.copy_(tensor)
    parts = [
        [piece for view in views if (piece := view.tensor_split(group.size, min(1, view.dim() - 1))[place]).numel()]
        for place in range(group.size)
    ]
    return held, parts


def scatter_in(ranks, name):
    group = on_wire(ranks, name)
    held, parts = filled(group, group.index)
    with record() as recorder:
        mine = reduce_scatter_in(held, parts, group).wait()
    longest = max(sum(piece.numel() for piece in part) for part in parts)
    assert recorder.traffic() == (Traffic(axis="tensor", kind="reduce_scatter", bytes=8 * ranks * longest, count=1),)
    assert group.wire.name == name
    return [piece.clone() for piece in mine]


@pytest.mark.parametrize("name", WIRES)
@pytest.mark.parametrize("ranks", RANKS)
def test_each_rank_s_pieces_of_a_buffer_are_summed(run_on_ranks, ranks, name):
    for place, mine in enumerate(run_on_ranks(ranks, scatter_in, ranks, name)):
        wanted = [sum(drawn(rank, *shape) for rank in range(ranks)) for shape in TENSORS]
        expected = [whole.tensor_split(ranks, min(1, whole.dim() - 1))[place] for whole in wanted]
        assert all(
            torch.equal(piece, one) for piece, one in zip(mine, [one for one in expected if one.numel()], strict=True)
        )


def gather_in(ranks, name):
    group = on_wire(ranks, name)
    held, parts = filled(group, group.index)
    return all_gather_in(held, parts, group).wait().clone()


@pytest.mark.parametrize("name", WIRES)
@pytest.mark.parametrize("ranks", RANKS)
def test_all_pieces_come_to_their_places(run_on_ranks, ranks, name):
    everyone = [[drawn(rank, *shape) for shape in TENSORS] for rank in range(ranks)]
    whole = [
        torch.cat(
            [one[number].tensor_split(ranks, min(1, len(shape) - 1))[rank] for rank, one in enumerate(everyone)],
            min(1, len(shape) - 1),
        )
        for number, shape in enumerate(TENSORS)
    ]
    expected = torch.cat([one.reshape(-1) for one in whole])
    assert all(torch.equal(found, expected) for found in run_on_ranks(ranks, gather_in, ranks, name))


def gather_flat(ranks, name):
    group = on_wire(ranks, name)
    counts = [5, 0, 3, 4][:ranks]
    held = buffer(counts[group.index], torch.float64, torch.device("cpu"), group)
    held.own.copy_(drawn(group.index, counts[group.index]))
    return [one.clone() for one in all_gather_of(held, counts, group).wait()]


@pytest.mark.parametrize("name", WIRES)
@pytest.mark.parametrize("ranks", RANKS)
def test_the_beginnings_of_all_buffers(run_on_ranks, ranks, name):
    expected = [drawn(rank, count) for rank, count in enumerate([5, 0, 3, 4][:ranks])]
    for found in run_on_ranks(ranks, gather_flat, ranks, name):
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))

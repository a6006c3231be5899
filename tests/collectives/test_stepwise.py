"""Wires that go step by step, each against gloo: what every one of them owes, whatever its algorithm."""

from __future__ import annotations

import time
from functools import partial

import pytest
import torch
import torch.distributed as dist
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from plait.collectives.cheapest import Cheapest
from plait.collectives.peers import CHUNK_BYTES, Peers
from plait.collectives.ring import Ring
from plait.collectives.wire import Transfer
from plait.specs.catalogue import ASSUMED_SPEED
from tests.collectives.drawn import drawn
from tests.collectives.stepping import WIRES, both, gloo, sums_are_gloo_s

CHUNK = CHUNK_BYTES // 8  # numbers of float64
COUNTS = [0, 1, 2, 3, 5, 17, 2048, 2049, 4 * CHUNK, 7 * CHUNK + 5]
RANKS = [2, 3, 4, 5]

several = settings(
    max_examples=6, phases=[Phase.explicit, Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def reduced(name, counts, operation):
    """Whole numbers, so that gloo's sum is the same to the bit."""
    wire, oracle = both(name)
    return sums_are_gloo_s(wire, oracle, counts, operation)


@pytest.mark.parametrize("operation", ["sum", "max"])
@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("name", WIRES)
def test_all_reduce(run_on_ranks, name, ranks, operation):
    assert run_on_ranks(ranks, reduced, name, COUNTS, operation) == [[True] * len(COUNTS)] * ranks


def fractions(name, counts):
    """Numbers whose sum depends on its order."""
    wire, oracle = both(name)
    drawing = torch.Generator().manual_seed(dist.get_rank())
    found = []
    for count in counts:
        ours = torch.randn(count, generator=drawing, dtype=torch.float64)
        theirs = ours.clone()
        wire.all_reduce(ours, "sum").wait()
        oracle.all_reduce(theirs, "sum").wait()
        found.append((ours, torch.allclose(ours, theirs, rtol=1e-14, atol=1e-14)))
    return found


@pytest.mark.parametrize("name", WIRES)
@several
@given(ranks=st.sampled_from(RANKS), counts=st.lists(st.integers(0, 5 * CHUNK), min_size=1, max_size=3))
def test_all_ranks_have_the_same_bits(run_on_ranks, name, ranks, counts):
    first, *others = run_on_ranks(ranks, fractions, name, counts)
    for number, (flat, near) in enumerate(first):
        assert near
        assert all(torch.equal(flat, other[number][0]) for other in others)


DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int16, torch.uint8, torch.bool]


def of_any_dtype(name):
    wire, _ = both(name)
    found = []
    for dtype in DTYPES:
        flat = torch.arange(3 * CHUNK + 1).remainder(2).to(dtype)
        wire.all_reduce(flat, "max").wait()
        found.append(torch.equal(flat, torch.arange(len(flat)).remainder(2).to(dtype)))
    return found


@pytest.mark.parametrize("name", WIRES)
def test_any_dtype_also_such_as_gloo_knows_none_of(run_on_ranks, name):
    assert run_on_ranks(3, of_any_dtype, name) == [[True] * len(DTYPES)] * 3


def parted(counts):
    """Reduce-scatter and all-gather of such parts around a ring, equal to gloo's."""
    wire, oracle = Ring(Peers(gloo())), gloo()
    rank = dist.get_rank()
    parts = [drawn(len(counts) * rank + place, count) for place, count in enumerate(counts)]
    reduced, gathered = ([part.clone() for part in parts] for _ in range(2))
    wire.start(partial(wire.reduce_parts, reduced)).wait()
    wire.start(partial(wire.gather_parts, gathered)).wait()
    expected = oracle.all_gather(parts[rank], counts).wait()
    pairs = [(reduced[rank], oracle.reduce_scatter(parts).wait()[0]), *zip(gathered, expected, strict=True)]
    return all(torch.equal(ours, theirs) for ours, theirs in pairs)


@pytest.mark.parametrize(
    "counts",
    [(3, 3), (1, 0), (5, 0, 1), (CHUNK, CHUNK + 1, 2), (4, 4, 4, 4), (7, 0, CHUNK, 1, 2 * CHUNK + 3), (1, 1, 1, 1, 1)],
    ids=str,
)
def test_parts_of_any_size(run_on_ranks, counts):
    assert all(run_on_ranks(len(counts), parted, counts))


def scattered(counts):
    """What was given is as it was."""
    wire, rank = Cheapest(Peers(gloo()), ASSUMED_SPEED), dist.get_rank()
    parts = [drawn(len(counts) * rank + place, count) for place, count in enumerate(counts)]
    before = [part.clone() for part in parts]
    ours, theirs = wire.reduce_scatter(parts).wait()[0], gloo().reduce_scatter(parts).wait()[0]
    return torch.equal(ours, theirs) and all(map(torch.equal, parts, before))


def test_a_reduce_scatter_leaves_what_it_is_given(run_on_ranks):
    assert all(run_on_ranks(3, scattered, (5, 0, CHUNK + 1)))


def traded(counts):
    wire, oracle = Cheapest(Peers(gloo()), ASSUMED_SPEED), gloo()
    rank, ranks = dist.get_rank(), len(counts)
    parts = [drawn(ranks * rank + place, count) for place, count in enumerate(counts[rank])]
    arriving = [counts[place][rank] for place in range(ranks)]
    ours = [torch.zeros(count, dtype=torch.float64) for count in arriving]
    wire.start(partial(wire.trade, parts, ours)).wait()
    theirs = oracle.all_to_all(parts, arriving).wait()
    return all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("counts", [((1, 2, 3), (4, 5, 6), (7, 8, 9)), ((3, CHUNK, 1), (4, 1, 2), (2, 5, 9))], ids=str)
def test_everybody_with_everybody(run_on_ranks, counts):
    assert all(run_on_ranks(3, traded, counts))


def among_some(name):
    """Two wires on one group: ranks 0 and 2 sum, 1 and 3 beside them."""
    rank = dist.get_rank()
    wire = WIRES[name](Peers(gloo(), places=(rank % 2, rank % 2 + 2)))
    flat = torch.full((2 * CHUNK,), float(rank))
    wire.all_reduce(flat, "sum").wait()
    return flat.unique().tolist()


@pytest.mark.parametrize("name", WIRES)
def test_some_of_a_group(run_on_ranks, name):
    assert run_on_ranks(4, among_some, name) == [[2.0], [4.0], [2.0], [4.0]]


def waited_in_another_order(name):
    """Three under way, the program's own messages among them; ranks wait in opposite orders, one after computing."""
    wire, over = both(name)
    rank = dist.get_rank()
    large, small = torch.ones(3 * CHUNK), torch.full((5,), 2.0)
    arrived = torch.zeros(7)
    works = [
        wire.all_reduce(large, "sum"),
        over.exchange(
            [
                Transfer(direction="send", tensor=torch.full((7,), float(rank)), peer=1 - rank),
                Transfer(direction="receive", tensor=arrived, peer=1 - rank),
            ]
        ),
        wire.all_reduce(small, "sum"),
    ]
    if rank:
        time.sleep(0.05)
    for work in works if rank else reversed(works):
        work.wait()
    return large.eq(2).all().item() and small.eq(4).all().item() and arrived.eq(1 - rank).all().item()


@pytest.mark.parametrize("name", WIRES)
def test_waiting_in_another_order_than_one_s_neighbour_is_no_deadlock(run_on_ranks, name):
    assert run_on_ranks(2, waited_in_another_order, name) == [True, True]


def two_groups_waited_in_another_order():
    """Two lines between the same ranks."""
    over = gloo()
    one, other = WIRES["ring"](Peers(over)), WIRES["ring"](Peers(over, tag=9))
    tensors = [torch.ones(3 * CHUNK), torch.ones(2 * CHUNK)]
    works = [one.all_reduce(tensors[0], "sum"), other.all_reduce(tensors[1], "sum")]
    for work in works if over.index else reversed(works):
        work.wait()
    return all(tensor.eq(2).all() for tensor in tensors)


def test_two_lines_waited_for_in_another_order(run_on_ranks):
    assert run_on_ranks(2, two_groups_waited_in_another_order) == [True, True]

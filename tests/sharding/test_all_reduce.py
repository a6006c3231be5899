"""Which all-reduce is cheapest: the formulas by hand, and their limits."""

from __future__ import annotations

from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.sharding.all_reduce import (
    ALGORITHMS,
    OURS,
    PIECE_BYTES,
    STEP_SECONDS,
    across_seconds,
    algorithm_between,
    cheapest_all_reduce,
    pieces,
    seconds_of_all_reduce,
    shared,
)
from plait.specs.links import LinkSpeed

LINK = LinkSpeed(alpha=1e-3, bytes_per_second=1e6)
STEP = STEP_SECONDS * 1e3  # in ms
sizes = st.floats(1, 1e12)
ranks = st.integers(2, 4096)
links = st.builds(LinkSpeed, alpha=st.floats(1e-7, 1e-1), bytes_per_second=st.floats(1e3, 1e12))


@pytest.mark.parametrize(
    ("algorithm", "count", "milliseconds"),
    [
        ("gloo", 4, 6 + 2 * 3 / 4 * 8),  # 8,000 bytes take 8 ms
        ("ring", 4, 6 * (1 + STEP) + 2 * 3 / 4 * 8),
        ("halving-doubling", 4, 4 * (1 + STEP) + 2 * 3 / 4 * 8),
        ("doubling", 4, 2 * (1 + STEP) + 2 * 8),
        ("halving-doubling", 5, 6 * (1 + STEP) + 2 * 3 / 4 * 8 + 2 * 8),
        ("doubling", 3, 3 * (1 + STEP) + 8 + 2 * 8),
        ("ring", 5, 8 * (1 + STEP) + 2 * 4 / 5 * 8),
        ("doubling", 1, 0),
        ("gloo", 1, 0),
    ],
)
def test_by_hand(algorithm, count, milliseconds):
    assert isclose(seconds_of_all_reduce(algorithm, 8000, count, LINK), milliseconds * 1e-3, abs_tol=1e-12)


@pytest.mark.parametrize("among", [ALGORITHMS, OURS])
@given(size=sizes, ranks=ranks, link=links)
def test_no_other_takes_less(among, size, ranks, link):
    least = seconds_of_all_reduce(cheapest_all_reduce(size, ranks, link, among), size, ranks, link)
    assert all(seconds_of_all_reduce(one, size, ranks, link) >= least for one in among)


@given(ranks=ranks)
def test_of_nearly_nothing_the_fewest_messages_win(ranks):
    assert cheapest_all_reduce(1e-6, ranks, LINK, OURS) == "doubling"


@given(ranks=ranks)
def test_of_very_much_the_fewest_bytes_win(ranks):
    power_of_two = ranks & (ranks - 1) == 0
    chosen = cheapest_all_reduce(1e15, ranks, LINK, OURS)
    assert chosen == ("ring" if not power_of_two else "doubling" if ranks == 2 else "halving-doubling")
    least = 2 * (ranks - 1) / ranks * 1e9  # seconds that the bytes alone take
    assert seconds_of_all_reduce(chosen, 1e15, ranks, LINK) >= least


@given(size=sizes, ranks=ranks, link=links)
def test_all_grow_with_size_and_shrink_with_speed(size, ranks, link):
    faster = LinkSpeed(alpha=link.alpha, bytes_per_second=2 * link.bytes_per_second)
    for one in ALGORITHMS:
        seconds = seconds_of_all_reduce(one, size, ranks, link)
        assert seconds_of_all_reduce(one, 2 * size, ranks, link) > seconds
        assert seconds_of_all_reduce(one, size, ranks, faster) < seconds


def test_two_hosts_keep_gloo_s_own_and_many_small_ones_do_not():
    quick = LinkSpeed(alpha=1e-4, bytes_per_second=1e9)
    assert algorithm_between(8, (1, 1), quick) == algorithm_between(10**8, (1, 1), quick) == "gloo"
    assert algorithm_between(8, (1,) * 64, quick) == "doubling"
    assert algorithm_between(10**9, (1,) * 3, quick) == "gloo"


def test_with_several_on_a_host_it_is_one_of_ours_of_a_slice():
    assert algorithm_between(10**6, (2, 2), LINK) == "doubling"
    assert algorithm_between(10**9, (4,) * 8, LINK) == "halving-doubling"
    assert algorithm_between(10**9, (3,) * 5, LINK) == "ring"


@given(size=st.integers(0, 10**9))
def test_pieces_make_up_the_whole(size):
    found = pieces(size)
    assert sum(found) == size
    assert all(0 < piece <= PIECE_BYTES for piece in found)


@given(size=st.integers(10**8, 10**12), hosts=st.integers(2, 64), each=st.integers(2, 16))
def test_two_levels_send_less_out_of_a_host_than_a_ring_through_all(size, hosts, each):
    """Of much, so that latency is nothing: hardly more than 2 (h-1)/h of the bytes, not 2 (hm-1)/hm."""
    link = LinkSpeed(alpha=1e-12, bytes_per_second=1e6)
    two_levels = across_seconds(size, (each,) * hosts, link)
    assert two_levels < seconds_of_all_reduce("gloo", size, hosts * each, link)
    assert isclose(two_levels, 2 * (hosts - 1) / hosts * size / 1e6, rel_tol=0.02) or hosts & (hosts - 1)


@given(size=sizes, hosts=st.integers(2, 16), each=st.integers(1, 8), groups=st.integers(1, 8), link=links)
def test_groups_that_cross_at_once_share_the_link(size, hosts, each, groups, link):
    alone, together = (across_seconds(min(size, 1e9), (each,) * hosts, link, many) for many in (1, groups))
    assert alone <= together <= groups * alone * (1 + 1e-9)
    assert shared(link, groups).bytes_per_second == link.bytes_per_second / groups

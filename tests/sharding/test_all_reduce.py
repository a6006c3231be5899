"""Which all-reduce is cheapest: the formulas by hand, and their limits."""

from __future__ import annotations

from math import inf, isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.sharding.all_reduce import ALGORITHMS, cheapest_all_reduce, hierarchical_seconds, seconds_of_all_reduce

LINK = {"alpha": 1e-3, "bytes_per_second": 1e6}
sizes = st.floats(1, 1e12)
ranks = st.integers(2, 4096)
alphas = st.floats(1e-7, 1e-1)
speeds = st.floats(1e3, 1e12)


@pytest.mark.parametrize(
    ("algorithm", "count", "milliseconds"),
    [
        ("ring", 4, 6 + 2 * 3 / 4 * 8),  # 8,000 bytes take 8 ms
        ("halving-doubling", 4, 4 + 2 * 3 / 4 * 8),
        ("doubling", 4, 2 + 2 * 8),
        ("halving-doubling", 5, 4 + 2 * 3 / 4 * 8 + 2 + 2 * 8),
        ("doubling", 3, 1 + 8 + 2 + 2 * 8),
        ("ring", 5, 8 + 2 * 4 / 5 * 8),
        ("doubling", 1, 0),
        ("ring", 1, 0),
    ],
)
def test_by_hand(algorithm, count, milliseconds):
    assert isclose(seconds_of_all_reduce(algorithm, 8000, count, **LINK), milliseconds * 1e-3, abs_tol=1e-12)


@given(size=sizes, ranks=ranks, alpha=alphas, speed=speeds)
def test_no_other_takes_less(size, ranks, alpha, speed):
    link = {"alpha": alpha, "bytes_per_second": speed}
    chosen = cheapest_all_reduce(size, ranks, **link)
    least = seconds_of_all_reduce(chosen, size, ranks, **link)
    assert all(seconds_of_all_reduce(one, size, ranks, **link) >= least for one in ALGORITHMS)


@given(ranks=ranks)
def test_of_nearly_nothing_the_fewest_messages_win(ranks):
    assert cheapest_all_reduce(1e-6, ranks, **LINK) == "doubling"


@given(ranks=ranks)
def test_of_very_much_the_fewest_bytes_win(ranks):
    power_of_two = ranks & (ranks - 1) == 0
    chosen = cheapest_all_reduce(1e15, ranks, **LINK)
    assert chosen == ("ring" if not power_of_two else "doubling" if ranks == 2 else "halving-doubling")
    least = 2 * (ranks - 1) / ranks * 1e9  # seconds that the bytes alone take
    assert seconds_of_all_reduce(chosen, 1e15, ranks, **LINK) >= least


@given(size=sizes, ranks=ranks, alpha=alphas, speed=speeds)
def test_all_grow_with_size_and_shrink_with_speed(size, ranks, alpha, speed):
    for one in ALGORITHMS:
        seconds = seconds_of_all_reduce(one, size, ranks, alpha=alpha, bytes_per_second=speed)
        assert seconds_of_all_reduce(one, 2 * size, ranks, alpha=alpha, bytes_per_second=speed) > seconds
        assert seconds_of_all_reduce(one, size, ranks, alpha=alpha, bytes_per_second=2 * speed) < seconds


@given(size=st.floats(1e3, 1e12), hosts=st.integers(2, 64), each=st.integers(2, 16))
def test_two_levels_send_less_out_of_a_host_than_a_ring_through_all(size, hosts, each):
    """With no latency, and nothing to pay inside: 2 (h-1)/h of the bytes, not 2 (hm-1)/hm."""
    link = {"alpha": 0.0, "bytes_per_second": 1e6}
    through_all = seconds_of_all_reduce("ring", size, hosts * each, **link)
    two_levels = hierarchical_seconds(size, hosts, each, inside=inf, **link)
    assert two_levels < through_all
    assert isclose(two_levels, 2 * (hosts - 1) / hosts * size / 1e6, rel_tol=1e-9)


def test_two_levels_pay_for_what_goes_inside():
    without = hierarchical_seconds(8000, 2, 2, **LINK)
    assert isclose(hierarchical_seconds(8000, 2, 2, inside=1e6, **LINK) - without, 8e-3, abs_tol=1e-12)

"""What is left out leaves the picture as it was."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from plait.report.selection import extremes, spread


@given(st.integers(0, 500), st.integers(2, 40))
def test_a_spread_is_even_and_keeps_both_ends(count, most):
    found = spread(count, most)
    assert len(found) == min(count, most)
    assert list(found) == sorted(set(found))
    if count:
        assert (found[0], found[-1]) == (0, count - 1)
        gaps = [b - a for a, b in pairwise(found)]
        assert not gaps or max(gaps) - min(gaps) <= 1


@given(st.lists(st.floats(-1e6, 1e6), max_size=300), st.integers(1, 20))
def test_extremes_keep_order_and_both_bounds(values, bins):
    points = tuple(enumerate(values))
    kept = extremes(points, bins)
    assert len(kept) <= 2 * bins
    assert list(kept) == sorted(set(kept))
    assert set(kept) <= set(points)
    if points:
        assert {min(v for _, v in kept), max(v for _, v in kept)} == {min(values), max(values)}

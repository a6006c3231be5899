"""Predicted and measured side by side: figures that can be worked out by hand, and ties as scipy has them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.plans.agreement import agreement, ranks_of, spearman, spread_of

SECONDS = st.lists(st.integers(1, 9).map(float), min_size=2, max_size=12)


def test_the_same_order_the_opposite_one_and_ties():
    assert spearman([1, 2, 3], [10, 20, 90]) == pytest.approx(1.0)
    assert spearman([1, 2, 3], [9, 5, 1]) == pytest.approx(-1.0)
    assert ranks_of([3.0, 1.0, 3.0, 2.0]) == [3.5, 1.0, 3.5, 2.0]
    assert spearman([1, 2, 3, 3], [1, 2, 4, 3]) == pytest.approx(0.9486832980505138)  # scipy.stats.spearmanr


def test_where_nothing_can_be_told_apart_there_is_no_order():
    assert spearman([1.0], [2.0]) is None
    assert spearman([1.0, 1.0], [2.0, 3.0]) is None


@given(SECONDS)
def test_ranks_add_up_and_keep_the_order(values):
    ranks = ranks_of(values)
    assert sum(ranks) == pytest.approx(len(values) * (len(values) + 1) / 2)
    for one, other in pairwise(values):
        place = values.index(one), len(values) - 1 - values[::-1].index(other)
        assert (one < other) == (ranks[place[0]] < ranks[place[1]])


def test_regret_is_of_the_predicted_best_and_the_error_is_the_median():
    found = agreement([1.0, 1.2, 2.0], [2.2, 2.0, 2.0])
    assert (found.pick, found.regret) == (0, pytest.approx(0.1))
    assert found.median_error == pytest.approx(0.4)
    assert agreement([1.0], [1.0]).spearman is None


def test_nothing_to_compare_is_refused():
    with pytest.raises(ValueError, match="0 predicted and 0 measured"):
        agreement([], [])
    with pytest.raises(ValueError, match="2 predicted and 1 measured"):
        agreement([1.0, 2.0], [1.0])


def test_the_spread_is_half_of_what_repeats_span():
    assert spread_of([9.0, 10.0, 12.0]) == pytest.approx(0.15)
    assert spread_of([3.0]) == 0.0

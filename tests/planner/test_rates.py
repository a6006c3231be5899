"""Interpolated rates are exact where they were measured, between their neighbours, and honest about their error."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.planner.rates import RateTable, TimeTable

GRID = {(float(m), float(n)): 2.0 * m**0.5 * n**0.25 for m, n in product((16, 64, 256), repeat=2)}  # a power law


def test_measured_points_are_kept():
    table = RateTable(GRID)
    for point, rate in GRID.items():
        assert table.at(*point) == pytest.approx(rate, rel=1e-12)


@given(st.floats(16, 256), st.floats(16, 256))
def test_a_power_law_is_found_between_its_points(m, n):
    assert RateTable(GRID).at(m, n) == pytest.approx(2.0 * m**0.5 * n**0.25, rel=1e-9)


@given(st.lists(st.tuples(st.integers(1, 5000), st.floats(0.1, 1e12)), min_size=1, max_size=9), st.integers(1, 10**6))
def test_no_rate_is_invented_beyond_the_measured_ones(points, size):
    rates = {(float(point),): rate for point, rate in points}
    found = RateTable(rates).at(size)
    assert min(rates.values()) * (1 - 1e-9) <= found <= max(rates.values()) * (1 + 1e-9)


def test_outside_it_is_as_at_the_border():
    table = RateTable(GRID)
    assert table.at(4096, 64) == pytest.approx(table.at(256, 64))
    assert table.at(1, 1) == pytest.approx(table.at(16, 16))
    assert not table.covers(4096, 64)
    assert table.covers(200, 17)


def test_a_missing_corner_is_told_by_its_neighbours():
    holed = {point: rate for point, rate in GRID.items() if point != (256.0, 256.0)}
    found = RateTable(holed).at(200, 200)
    assert GRID[64.0, 64.0] < found < GRID[256.0, 256.0]


def test_scattered_points_need_no_grid():
    table = RateTable({(10.0, 30.0): 5.0, (70.0, 20.0): 7.0, (33.0, 99.0): 6.0})
    assert table.at(33, 99) == pytest.approx(6.0)
    assert 5.0 < table.at(40, 40) < 7.0


def test_the_error_is_that_of_points_told_by_the_others():
    assert RateTable({(1.0,): 5.0}).error() is None
    assert RateTable({(1.0,): 5.0, (2.0,): 5.0, (4.0,): 5.0}).error() == pytest.approx(0.0)
    # each of two points is told by the other: 2 instead of 1, and 1 instead of 2
    assert RateTable({(1.0,): 1.0, (2.0,): 2.0}).error() == pytest.approx((1.0 + 0.5) / 2 / 4)


def test_times_have_a_fixed_part():
    table = TimeTable({100.0: 3.0, 200.0: 4.0, 1000.0: 20.0})
    assert [table.at(size) for size in (100, 150, 200, 600)] == pytest.approx([3.0, 3.5, 4.0, 12.0])
    assert table.at(50) == pytest.approx(2.5)  # a fixed 2, and 1 for each 100
    assert table.at(1100) == pytest.approx(22.0)


def test_times_are_never_less_than_in_proportion_at_the_small_end():
    steep = TimeTable({100.0: 1.0, 200.0: 5.0})  # its line would be below zero
    assert steep.at(50) == pytest.approx(0.5)
    assert TimeTable({100.0: 1.0}).at(50) == pytest.approx(0.5)


@given(st.dictionaries(st.integers(1, 10**6).map(float), st.floats(1e-6, 1.0), min_size=1), st.integers(1, 10**7))
def test_times_are_positive(points, size):
    assert TimeTable(points).at(size) > 0

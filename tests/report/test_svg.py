"""Scales keep everything inside the picture; ticks are round, few and inside."""

from math import inf, nan, ulp

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plait.report.svg import Scale, axis, line, path, picture, rectangle, ticks, words
from tests.report.reading import assert_all_inside, parse

ANY = st.floats(allow_nan=True, allow_infinity=True)


@given(ANY, ANY, ANY)
def test_a_scale_never_leaves_its_ends(low, high, value):
    assert 10.0 <= Scale(low=low, high=high, start=10.0, end=90.0)(value) <= 90.0


def test_a_scale_is_linear_and_may_point_upward():
    across = Scale(low=0.0, high=4.0, start=10.0, end=90.0)
    upward = Scale(low=0.0, high=4.0, start=90.0, end=10.0)
    assert [across(v) for v in (0, 1, 4)] == [10, 30, 90]
    assert [upward(v) for v in (0, 1, 4)] == [90, 70, 10]


@example(81.6, 1e-9, 5)  # the last tick is the float after 81.600000001
@given(st.floats(-1e12, 1e12), st.floats(1e-9, 1e12), st.integers(1, 12))
def test_ticks_are_few_and_inside(low, span, most):
    """But for what a tick is rounded by, which is of its own size and not of the span's."""
    high = low + span
    found = ticks(low, high, most)
    assert 1 <= len(found) <= most
    slack = 1e-6 * span + 4 * ulp(max(abs(low), abs(high)))
    assert all(low - slack <= value <= high + slack for value in found)


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [(0, 10, (0, 2, 4, 6, 8, 10)), (0, 0.3, (0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)), (1, 1, (1,)), (0, inf, (0,))],
)
def test_ticks_are_round(low, high, found):
    assert ticks(low, high, most=7) == pytest.approx(found)


def test_ticks_of_no_number_are_no_loop():
    assert len(ticks(0.0, nan)) == 1


def test_shapes_are_written_down():
    assert rectangle(1, 2, -3, 4) == '<rect x="1" y="2" width="0" height="4"></rect>'
    assert line((0, 1), (2, 3), class_="grid") == '<line x1="0" y1="1" x2="2" y2="3" class="grid"></line>'
    assert path([(0, 1), (2, 3)]) == '<path d="M0 1 2 3"></path>'
    assert path([(0, 1), (2, 3)], close=((2, 9), (0, 9))) == '<path d="M0 1 2 3 2 9 0 9Z"></path>'
    assert words((0, 1), "a<b", anchor="end") == '<text x="0" y="1" text-anchor="end">a&lt;b</text>'


def test_a_picture_says_what_is_to_be_seen():
    svg = parse(picture(100, 50, "two <bars>", rectangle(0, 0, 100, 50))).one("svg")
    assert svg.attributes["aria-label"] == "two <bars>"
    assert svg.attributes["viewbox"] == "0 0 100 50"


def test_an_axis_names_its_unit_and_stays_inside():
    drawing = picture(100, 60, "", axis(Scale(low=0, high=0.3, start=5, end=95), (1e-3, "ms"), 2, 40))
    assert_all_inside(parse(drawing))
    assert [one.text for one in parse(drawing).all("text")] == [
        "0 ms",
        "50 ms",
        "100 ms",
        "150 ms",
        "200 ms",
        "250 ms",
        "300 ms",
    ]

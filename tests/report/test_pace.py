"""Every step's seconds beside the predicted band: in order, inside the picture, none invented."""

from math import inf, nan

import pytest

from plait.report.pace import pace
from tests.report.example import each_step
from tests.report.reading import assert_all_inside, parse


def test_a_dot_a_step_and_the_band_between_the_bounds():
    tree = parse(pace([(1, 0.30), (2, 0.32), (3, 0.31)], (0.30, 0.32)))
    dots, (band,) = tree.all("circle", "at"), tree.all("rect", "allowed")
    assert [dot.attributes["data-tip"] for dot in dots] == ["step 1: 300 ms", "step 2: 320 ms", "step 3: 310 ms"]
    assert dots[1].number("cy") == pytest.approx(band.number("y"), abs=0.02)
    assert dots[0].number("cy") == pytest.approx(band.number("y") + band.number("height"), abs=0.02)


def test_a_step_that_took_far_longer_stands_at_the_edge():
    tree = parse(pace([(1, 50.0), *((s, 0.3) for s in range(2, 20))], (0.2, 0.25)))
    assert_all_inside(tree)
    first, *others = tree.all("circle", "at")
    assert first.number("cy") == 10.0
    assert all(dot.number("cy") > 30 for dot in others)
    assert tree.all("circle", "beyond") == [first]
    assert "one that took even longer" in tree.text


def test_steps_that_are_often_slow_are_all_in_the_picture():
    tree = parse(pace([(s, 0.2 if s % 4 == 0 else 0.06) for s in range(1, 61)], (0.05, 0.07)))
    assert not tree.all("circle", "beyond")
    assert "even longer" not in tree.text


def test_many_steps_are_thinned():
    tree = parse(pace(each_step(5000), (0.29, 0.33)))
    assert len(tree.all("circle", "at")) == 600
    assert_all_inside(tree)


@pytest.mark.parametrize("interval", [(0.0, 0.0), (1e-9, 1e9), (0.3, 0.3)])
def test_odd_bounds_stay_inside(interval):
    assert_all_inside(parse(pace([(1, 0.3), (2, 0.3)], interval)))


@pytest.mark.parametrize("steps", [(), ((1, 0.3),), ((1, nan), (2, inf), (3, 0.0))])
def test_with_fewer_than_two_steps_there_is_nothing(steps):
    assert pace(steps, (0.2, 0.4)) == ""
    assert pace([(1, 0.3), (2, 0.3)], (nan, 1.0)) == ""

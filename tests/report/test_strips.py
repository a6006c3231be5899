"""Small pictures compare two numbers truly and survive odd ones."""

from math import inf, nan

import pytest

from plait.report.data import Learning
from plait.report.strips import fill, gauge, interval, spark
from tests.report.example import losses
from tests.report.reading import assert_all_inside, parse


def test_inside_the_interval_the_dot_stands_in_the_band():
    tree = parse(interval((0.9, 1.0, 1.1), 1.05))
    band, dot = tree.one("rect", "band"), tree.one("circle", "at")
    assert band.number("x") < dot.number("cx") < band.number("x") + band.number("width")


@pytest.mark.parametrize("measured", [0.5, 1.5])
def test_outside_it_the_dot_stands_outside(measured):
    tree = parse(interval((0.9, 1.0, 1.1), measured))
    band, dot = tree.one("rect", "band"), tree.one("circle", "at")
    assert not band.number("x") <= dot.number("cx") <= band.number("x") + band.number("width")


def test_a_filling_is_its_share_of_the_whole():
    tree = parse(fill(3.0, 4.0))
    whole, filled = tree.one("rect", "band"), tree.one("rect", "filled")
    assert filled.number("width") / whole.number("width") == pytest.approx(0.75, abs=1e-3)


def test_an_interval_without_a_measurement_has_no_dot():
    assert not parse(interval((0.9, 1.0, 1.1))).all("circle")


def test_a_gauge_has_the_ratio_of_its_numbers():
    tree = parse(gauge(100.0, 80.0, limit=200.0))
    outline, filled, limit = tree.one("rect", "band"), tree.one("rect", "filled"), tree.one("line", "limit")
    assert filled.number("width") / outline.number("width") == pytest.approx(0.8, abs=1e-3)
    assert (limit.number("x1") - 1) / outline.number("width") == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize("limit", [0.0, 251.0])
def test_a_far_limit_is_not_drawn(limit):
    assert not parse(gauge(100.0, 80.0, limit)).all("line", "limit")


@pytest.mark.parametrize("value", [0.0, 1e-300, 1e300, nan, inf])
def test_odd_numbers_stay_inside(value):
    for drawing in (gauge(value, 1.0, value), gauge(1.0, value), interval((value, 1.0, 1.0), value)):
        assert_all_inside(parse(drawing))
        assert "nan" not in drawing


def test_a_spark_falls_and_has_a_dot_a_held_out_loss():
    tree = parse(spark(Learning(train=losses(), validation=((0, 8.3), (200, 2.7)))))
    first, last = tree.all("circle", "held-out")
    assert first.number("cy") < last.number("cy")
    assert_all_inside(tree)
    assert not parse(spark(Learning(train=(), validation=((0, 8.3),)))).all("path")
    assert spark(Learning(train=((1, nan),))) == ""

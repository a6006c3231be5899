"""The loss curve: losses where they are, gaps where there are none, bits per byte beside nats."""

from math import inf, log, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.report.curve import bits_per_byte, curve, not_numbers, smoothed
from plait.report.data import Learning
from tests.report.example import losses
from tests.report.reading import NUMBER, assert_all_inside, parse

ANY = st.floats(allow_nan=True, allow_infinity=True)


def drawn(train=(), **others):
    return parse(curve(Learning(train=tuple(train), **others)))


def points_of(path):
    numbers = [float(found) for found in NUMBER.findall(path.attributes["d"])]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def test_bits_per_byte_by_hand():
    assert bits_per_byte(log(2), 1.0) == 1.0  # a bit a token of one byte
    assert bits_per_byte(8 * log(2), 4.0) == pytest.approx(2.0)


def test_the_mean_is_that_of_the_neighbours():
    points = ((1, 1.0), (2, 2.0), (3, 6.0), (4, nan), (5, 8.0))
    assert smoothed(points, 0)[:3] == points[:3]
    means = smoothed(points, 1)
    assert [mean for _, mean in means[:3]] == [1.5, 3.0, 4.0]
    assert means[3][1] != means[3][1]
    assert means[4] == (5, 8.0)


def test_a_line_falls_where_the_loss_falls():
    path = drawn(losses()).one("path", "line", "mean")
    points = points_of(path)
    assert len(points) == 200
    assert points[0][1] < points[-1][1]  # SVG counts downward
    assert [x for x, _ in points] == sorted(x for x, _ in points)


def test_held_out_losses_stand_at_their_step_with_their_figure():
    tree = drawn(losses(), validation=((0, 8.334), (100, 3.207), (200, 2.744)))
    dots = tree.all("circle", "held-out")
    assert [dot.number("cx") for dot in dots] == [58.0, 529.0, 1000.0]
    assert [text.text for text in tree.all("text", "held-out")] == ["8.334", "3.207", "2.744"]


def test_bits_per_byte_stand_beside_nats_where_bytes_are_known():
    with_bytes = drawn(losses(), validation=((0, 8.0),), bytes_per_token=3.0)
    assert "bits per byte" in with_bytes.text
    assert "3.847 bits per byte" in with_bytes.one("circle", "held-out").attributes["data-tip"]
    assert "bits per byte" not in drawn(losses(), validation=((0, 8.0),)).text


def test_a_loss_that_is_no_number_is_a_gap_and_said():
    train = [(s, nan if s in (20, 21) else inf if s == 40 else 3.0 + 1 / s) for s in range(1, 61)]
    tree = drawn(train)
    assert len(tree.all("path", "mean")) == 3
    assert len(tree.all("rect", "gap")) == 2
    assert tree.one("p", "warning").text == "3 losses are not numbers: step 20 to 21, 40."
    assert "nan" not in "".join(path.attributes["d"] for path in tree.all("path"))


def test_a_single_loss_that_is_no_number_and_many():
    assert drawn([(1, 2.0), (2, nan)]).one("p", "warning").text == "One loss is not a number: step 2."
    assert "20 losses are not numbers: step 0 to 19." in drawn([(s, nan) for s in range(20)]).text
    assert "step 0, 2, 4, 6, 8, 10, 12, 14, 16, and later ones." in drawn([(s, nan) for s in range(0, 40, 2)]).text
    assert not drawn([(s, nan) for s in range(20)]).all("svg")


def test_not_numbers_are_named_by_step():
    assert not_numbers(((1, 2.0), (2, nan), (3, -inf))) == (2, 3)


@given(st.lists(ANY, max_size=40), st.lists(ANY, max_size=5), st.floats(0.5, 10))
def test_nothing_leaves_the_picture_whatever_the_losses(train, held_out, bytes_per_token):
    tree = drawn(
        enumerate(train, 1),
        validation=tuple(enumerate(held_out)),
        bytes_per_token=bytes_per_token,
        baselines={"b": 3.0},
    )
    assert_all_inside(tree)
    shapes = [shape for svg in tree.all("svg") for shape in svg.walk()]
    assert not any("nan" in value or "inf" in value for s in shapes for k, value in s.attributes.items() if k in "dxy")


@pytest.mark.parametrize("train", [losses(1), losses(2), ((7, 0.0),), ((1, 5.0), (2, 5.0)), losses(20_000)])
def test_few_many_and_equal_losses(train):
    tree = drawn(train)
    assert_all_inside(tree)
    assert len(tree.all("svg")) == 1
    assert sum(len(points_of(path)) for path in tree.all("path")) < 6000
    assert len(tree.all("rect", "hit")) <= 480


def test_a_baseline_is_a_line_with_its_name():
    tree = drawn(losses(), baselines={"bigram <b>": 3.62, "broken": nan})
    assert len(tree.all("line", "baseline")) == 1
    assert "bigram <b> 3.620" in tree.text


def test_without_losses_there_is_nothing():
    assert curve(Learning(train=())) == ""

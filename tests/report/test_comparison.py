"""Predicted beside measured: the numbers shown are those given, their error is computed, and misses are owned."""

from dataclasses import replace
from math import nan

import pytest

from plait.plans.prediction import Terms
from plait.report.comparison import comparison, error_of, honest_sentence, pairs, term_seconds
from plait.report.data import Measured
from tests.report.example import MIB, prediction
from tests.report.reading import assert_all_inside, parse

BEFORE = replace(
    prediction(2),
    step_seconds=0.2,
    interval=(0.18, 0.22),
    terms=Terms(compute=0.15, bubble=0.03, optimizer=0.01, exposed={"tensor": 0.0, "data": 0.01}),
    memory_bytes=(100 * MIB, 80 * MIB),
)
AFTER = Measured(
    step_seconds=0.25,
    tokens_per_second=4000.0,
    terms=Terms(compute=0.15, bubble=0.04, optimizer=0.008, exposed={"data": 0.05, "tensor": 0.0}),
    memory_bytes=(110 * MIB, 120 * MIB),
)


def cells(rows):
    return {
        row.one("th").text: [td.text for td in row.all("td")] for row in parse(comparison(rows)).one("tbody").all("tr")
    }


def test_each_number_stands_in_its_row():
    found = cells(pairs(BEFORE, AFTER, tokens_per_step=1000))
    assert found == {
        "step": ["200 ms", "250 ms", "−20.0 %", ""],
        "compute": ["150 ms", "150 ms", "0.0 %", "0 µs"],
        "bubble": ["30 ms", "40 ms", "−25.0 %", "+10 ms"],
        "exposed communication, data": ["10 ms", "50 ms", "−80.0 %", "+40 ms"],
        "optimizer": ["10 ms", "8 ms", "+25.0 %", "−2 ms"],
        "tokens a second": ["5,000", "4,000", "+25.0 %", ""],
        "memory, fullest rank": ["100 MiB", "120 MiB", "−16.7 %", ""],
    }


def test_a_term_that_is_zero_on_both_sides_is_left_out():
    assert "tensor" not in {row.kind for row in pairs(BEFORE, AFTER)}


def test_an_axis_that_only_one_side_knows_has_a_row():
    terms = Terms(compute=0.1, bubble=0.0, optimizer=0.0, exposed={"expert": 0.1})
    found = cells(pairs(BEFORE, replace(AFTER, terms=terms)))
    assert found["exposed communication, expert"] == ["0 µs", "100 ms", "−100.0 %", "+100 ms"]
    assert found["exposed communication, data"] == ["10 ms", "0 µs", "–", "−10 ms"]


def test_without_a_measurement_only_the_prediction_is_shown():
    found = cells(pairs(BEFORE, None, tokens_per_step=1000))
    assert found["step"] == ["200 ms", "–", "–", ""]
    assert found["tokens a second"][:2] == ["5,000", "–"]
    assert cells(pairs(BEFORE, replace(AFTER, terms=None, memory_bytes=())))["compute"] == ["150 ms", "–", "–", ""]


def test_axes_stand_in_the_order_of_the_mesh():
    terms = Terms(compute=1, bubble=1, optimizer=1, exposed={"weird": 1, "tensor": 1, "data": 1, "pipeline": 1})
    assert list(term_seconds(terms)) == ["compute", "bubble", "pipeline", "data", "tensor", "weird", "optimizer"]


def test_the_bar_of_a_miss_goes_where_it_missed():
    tree = parse(comparison(pairs(BEFORE, AFTER)))
    assert_all_inside(tree)
    bars = {row.one("th").text: row.all("rect") for row in tree.one("tbody").all("tr")}
    (data,), (optimizer,) = bars["exposed communication, data"], bars["optimizer"]
    assert (data.number("x"), data.number("width")) == (70.0, 66.0)
    assert optimizer.number("x") + optimizer.number("width") == pytest.approx(70.0, abs=0.01)
    assert optimizer.number("width") == pytest.approx(66 * 2 / 40, abs=0.01)


@pytest.mark.parametrize(
    ("predicted", "measured", "error"), [(1.0, 2.0, -0.5), (3.0, 2.0, 0.5), (0.0, 0.0, 0.0), (1.0, 0.0, None)]
)
def test_the_error_is_relative_to_what_was_measured(predicted, measured, error):
    assert error_of(predicted, measured) == error


def test_inside_the_interval_it_is_said():
    said = honest_sentence(BEFORE, replace(AFTER, step_seconds=0.21))
    assert said == "The measured step, 210 ms, lies inside the predicted interval of 180 ms to 220 ms."


def test_outside_it_the_term_that_missed_most_is_named():
    assert honest_sentence(BEFORE, AFTER) == (
        "The measured step, 250 ms, lies outside the predicted interval of 180 ms to 220 ms: above it by 30 ms. "
        "The largest part of it is exposed communication, data: 40 ms more than predicted."
    )


def test_below_the_interval_the_term_that_took_less_is_named():
    terms = Terms(compute=0.1, bubble=0.02, optimizer=0.01, exposed={"data": 0.02})
    said = honest_sentence(BEFORE, replace(AFTER, step_seconds=0.15, terms=terms))
    assert "below it by 30 ms. The largest part of it is compute: 50 ms less than predicted." in said


def test_no_term_is_blamed_where_none_is_known_or_none_missed_that_way():
    assert honest_sentence(BEFORE, replace(AFTER, terms=None)).endswith("above it by 30 ms.")
    assert honest_sentence(BEFORE, replace(AFTER, terms=BEFORE.terms)).endswith("above it by 30 ms.")


def test_what_is_no_number_breaks_nothing():
    found = cells(pairs(BEFORE, replace(AFTER, step_seconds=nan, tokens_per_second=nan), tokens_per_step=1000))
    assert found["step"] == ["200 ms", "not a number", "not a number", ""]
    assert "not a number" in honest_sentence(BEFORE, replace(AFTER, step_seconds=nan))

"""Stacked bars of a step: the parts sum to the step, and what the terms leave out is shown, not hidden."""

import pytest

from plait.plans.prediction import Terms
from plait.report.shares import share_bars
from tests.report.example import terms
from tests.report.reading import assert_all_inside, parse

NOTHING = Terms(compute=0.0, bubble=0.0, optimizer=0.0, exposed={})


def lengths(tree, side):
    return {
        next(iter(rect.classes - {"part"})): rect.number("width") for rect in tree.one("g", side).all("rect", "part")
    }


def test_the_parts_sum_to_the_step():
    before = terms(0.3, compute=0.2, data=0.02)
    tree = parse(share_bars({"predicted": (0.3, before), "measured": (0.36, terms(0.36, compute=0.25, data=0.04))}))
    predicted, measured = lengths(tree, "predicted"), lengths(tree, "measured")
    assert sum(measured.values()) == pytest.approx(960, abs=0.05)
    assert sum(predicted.values()) == pytest.approx(960 * 0.3 / 0.36, abs=0.05)
    assert predicted["compute"] / sum(predicted.values()) == pytest.approx(0.2 / 0.3, abs=1e-3)
    assert_all_inside(tree)


def test_what_the_terms_leave_out_is_shown():
    tree = parse(share_bars({"measured": (1.0, Terms(compute=0.6, bubble=0.0, optimizer=0.1, exposed={}))}))
    assert lengths(tree, "measured") == {"compute": 576.0, "optimizer": 96.0, "unnamed": 288.0}
    assert [item.text for item in tree.all("li")] == ["compute", "optimizer", "not named"]


def test_terms_beyond_the_step_stay_inside():
    tree = parse(share_bars({"measured": (0.1, terms(1.0, compute=0.9))}))
    assert_all_inside(tree)
    assert sum(lengths(tree, "measured").values()) == pytest.approx(960, abs=0.05)


def test_an_impossible_negative_term_is_not_drawn():
    assert "bubble" not in lengths(parse(share_bars({"measured": (0.1, terms(0.1, compute=0.2))})), "measured")


def test_without_seconds_there_is_nothing():
    assert share_bars({}) == ""
    assert share_bars({"predicted": (0.0, NOTHING)}) == ""

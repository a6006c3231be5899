"""The ranked plans: in their order, with the numbers given, the chosen one marked, and why the others lost."""

from dataclasses import replace
from math import inf, nan

import pytest

from plait.plans.plan import Plan
from plait.report.data import RankedPlan, Search
from plait.report.ranking import ranking
from tests.report.example import MIB, PLAN, example
from tests.report.reading import assert_all_inside, parse

BEST = RankedPlan(plan=PLAN, step_seconds=0.2, interval=(0.19, 0.21), memory_bytes=(5 * MIB, 9 * MIB))
LOSER = RankedPlan(
    plan=Plan(tensor=4, stages=(8,)), step_seconds=0.4, interval=(0.3, 0.5), memory_bytes=(), lost_because="a<b> lost"
)
SEARCH = Search(plans=(BEST, LOSER), considered=1428, legal=61, search_seconds=0.5)


def rows(search, chosen=None):
    return parse(ranking(search, chosen)).one("tbody").all("tr")


def test_the_numbers_shown_are_those_given():
    first, second = rows(SEARCH)
    assert [td.text for td in first.all("td")] == ["1", "", "200 ms", "9 MiB", "chosen"]
    assert [td.text for td in second.all("td")] == ["2", "", "400 ms", "–", "a<b> lost"]
    assert "1,428 plans considered, 61 legal. The search took 500 ms." in parse(ranking(SEARCH)).text


def test_the_plan_that_was_performed_is_the_chosen_one():
    first, second = rows(SEARCH, chosen=LOSER.plan)
    assert "chosen" not in first.text
    assert "chosen · a<b> lost" in second.text


def test_bars_and_whiskers_stand_at_their_seconds():
    tree = parse(ranking(SEARCH))
    assert_all_inside(tree)
    first, second = tree.all("g", "predicted")
    assert first.one("rect").number("width") == pytest.approx(second.one("rect").number("width") / 2, abs=0.02)
    whisker = rows(SEARCH)[1].all("line", "interval")[0]
    assert (whisker.number("x1"), whisker.number("x2")) == pytest.approx((296 * 3 / 5, 296), abs=0.02)


def test_terms_are_stacked():
    tree = parse(ranking(example().search))
    assert_all_inside(tree)
    kinds = [next(iter(r.classes - {"part"})) for r in tree.all("g", "predicted")[0].all("rect")]
    assert kinds == ["compute", "bubble", "pipeline", "data", "optimizer"]


def test_a_plan_far_slower_ends_at_the_edge_with_an_arrow():
    slow = replace(LOSER, step_seconds=20.0, interval=(19.0, 21.0))
    tree = parse(ranking(replace(SEARCH, plans=(BEST, slow))))
    assert_all_inside(tree)
    assert [text.text for text in tree.all("text")] == ["›"]
    assert tree.all("g", "predicted")[0].one("rect").number("width") > 90


def test_too_close_to_call_is_said():
    close = replace(SEARCH, too_close_to_call=True)
    assert "The first two are 200 ms apart, closer than the predictions are sure: too close to call." in ranking(close)
    assert "too close" not in ranking(replace(close, plans=(BEST,)))


def test_many_plans_are_cut_off_and_counted():
    many = replace(SEARCH, plans=(BEST, *[LOSER] * 40))
    assert len(rows(many)) == 12
    assert "29 more are not shown" in ranking(many)


@pytest.mark.parametrize("seconds", [nan, inf, 0.0, 1e-300, 1e300])
def test_odd_seconds_break_nothing(seconds):
    odd = replace(LOSER, step_seconds=seconds, interval=(seconds, seconds))
    drawing = ranking(replace(SEARCH, plans=(odd, BEST)))
    assert_all_inside(parse(drawing))


def test_without_plans_there_is_nothing():
    assert ranking(replace(SEARCH, plans=())) == ""

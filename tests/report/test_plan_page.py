"""The page of a plan: what it says and draws, which parts it leaves out, in a real browser too."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.plans.plan import Plan
from plait.plans.prediction import Terms
from plait.report.data import RankedPlan, Search
from plait.report.memory import Bar
from plait.report.plan_data import Changed, Cost, PlanPage, Room, Thought
from plait.report.plan_page import render_plan
from tests.report.browser import CHROMIUM, look_at
from tests.report.example import MIB, lanes
from tests.report.reading import assert_all_inside, parse

SECTIONS = ["rivals", "plan", "step", "memory", "cost", "changes", "thoughts", "notes", "again"]
BEST = Plan(data=2, pipeline=2, stages=(4, 4), microbatch=2, schedule="1f1b", data_shares=(1, 1))
OTHER = Plan(data=4, stages=(8,), microbatch=4, data_shares=(1, 1, 1, 1))
TERMS = Terms(compute=0.2, bubble=0.05, optimizer=0.02, exposed={"data": 0.02, "pipeline": 0.01})
PARTS = {"weights": 40 * MIB, "gradients": 40 * MIB, "optimizer": 80 * MIB, "activations": 30 * MIB, "logits": 5 * MIB}


def ranked(plan: Plan, step: float, why: str | None) -> RankedPlan:
    interval = (0.9 * step, 1.2 * step)
    return RankedPlan(
        plan=plan, step_seconds=step, interval=interval, memory_bytes=(195 * MIB,) * 4, terms=TERMS, lost_because=why
    )


def example() -> PlanPage:
    """Everything that a page may have."""
    return PlanPage(
        name="<i>job</i>",
        facts=("3 million parameters", "4 × made-up"),
        plan=BEST,
        step_seconds=0.3,
        interval=(0.27, 0.36),
        interval_words="Across its end, the interval.",
        terms=TERMS,
        tokens_per_step=3000,
        lanes=lanes(),
        lane_names=("ranks 0–1", "ranks 2–3"),
        ranks_a_lane=2,
        replicas_differ=False,
        idle=0.25,
        rooms=(Room(bars=tuple(Bar(rank=k, parts=PARTS) for k in range(4)), limit=256 * MIB),),
        cost=Cost(steps=1000, run_seconds=300.0, run_money=1200.0, run_joules=3.6e6),
        search=Search(
            plans=(ranked(BEST, 0.3, None), ranked(OTHER, 0.33, "data 4: <b>exposed</b> communication +9%")),
            more=5,
            considered=40,
            legal=7,
            search_seconds=0.1,
        ),
        changes=(
            Changed(what="links twice as fast", plan=OTHER, step_seconds=0.24, same=False),
            Changed(what="links half as fast", plan=BEST, step_seconds=0.45, same=True),
            Changed(what="twice the memory", plan=BEST, step_seconds=0.3, same=True),
            Changed(what="half the memory", plan=None, step_seconds=None, same=False),
        ),
        thoughts=(Thought(name="all ranks along tensor", why="not legal"),),
        notes=("a guess: links were not measured",),
        commands=("plait plan job.toml",),
    )


def drawn(data: PlanPage):
    return parse(render_plan(data))


def test_every_part_has_its_section_and_the_head_says_the_main_figures():
    tree = drawn(example())
    assert [section.attributes["id"] for section in tree.all("section")] == SECTIONS
    assert tree.one("p", "promise").text.startswith("Data 2 × pipeline 2, microbatch 2, 1f1b 4+4: 300 ms a step, ")
    tiles = {tile.one("h3").text: tile.one("b").text for tile in tree.all("div", "tile")}
    assert tiles == {
        "step": "300 ms", "throughput": "10,000", "bubble": "16.7 %", "memory, fullest rank": "195 MiB",
        "cost of the run": "1,200",
    }  # fmt: skip


def test_what_a_user_wrote_is_no_markup():
    tree = drawn(example())
    assert tree.one("h1").text == "<i>job</i>"
    assert not tree.all("i", "job")
    assert "data 4: <b>exposed</b> communication +9%" in tree.text


def test_plans_that_are_not_drawn_are_counted():
    assert "5 more are not shown" in drawn(example()).text


def test_the_bill_shares_money_and_energy_out_as_the_seconds_go():
    rows = drawn(example()).one("table", "bill").one("tbody").all("tr")
    cells = [[cell.text for cell in (*row.all("th"), *row.all("td"))] for row in rows]
    assert cells[0] == ["all of it", "300 ms", "100.0 %", "5 min", "1,200", "1 kWh"]
    shares = {name: share for name, _, share, *_ in cells[1:]}
    assert shares == {
        "compute": "66.7 %", "bubble": "16.7 %", "exposed communication, data": "6.7 %",
        "exposed communication, pipeline": "3.3 %", "optimizer": "6.7 %",
    }  # fmt: skip
    assert [row[4] for row in cells[1:3]] == ["800.00", "200.00"]


def test_gains_and_losses_are_told_apart_and_the_rule_is_the_step_of_now():
    rows = drawn(example()).one("table", "sensitivity").one("tbody").all("tr")
    assert [row.all("td")[2].text for row in rows] == ["", "−20.0 %", "+50.0 %", "no change", ""]
    faster, slower = rows[1], rows[2]
    (gain,), (loss,) = faster.all("rect", "gain"), slower.all("rect", "loss")
    now = faster.one("line", "said").number("x1")
    assert gain.number("x") + gain.number("width") == pytest.approx(now, abs=0.05)
    assert loss.number("x") == pytest.approx(now, abs=0.05)
    assert loss.number("width") / now == pytest.approx(0.5, abs=0.01)
    assert "another: data\u00a04" in faster.text
    assert "the same plan" in slower.text
    assert "nothing would fit" in rows[4].text


def test_without_search_price_and_pipeline_their_parts_are_left_out():
    alone = replace(
        example(), plan=OTHER, search=None, changes=(), thoughts=(), notes=(), lanes=lanes(1),
        lane_names=("ranks 0–3",),
        cost=Cost(steps=1, run_seconds=0.3),
    )  # fmt: skip
    tree = drawn(alone)
    assert [section.attributes["id"] for section in tree.all("section")] == ["plan", "step", "memory", "cost", "again"]
    names = {tile.one("h3").text for tile in tree.all("div", "tile")}
    assert names == {"step", "throughput", "memory, fullest rank"}
    heads = [head.text for head in tree.one("table", "bill").one("thead").all("th")]
    assert heads == ["", "a step", "", "1 step"]


def test_the_rank_nearest_to_its_limit_is_not_called_the_fullest_where_another_holds_more():
    small, large = {**PARTS, "activations": 0}, PARTS
    rooms = (
        Room(bars=(Bar(rank=0, parts=small),), limit=176 * MIB, title="On 1 × small"),
        Room(bars=(Bar(rank=1, parts=large),), limit=512 * MIB, title="On 1 × large"),
    )
    tree = drawn(replace(example(), rooms=rooms))
    tiles = {tile.one("h3").text: tile.one("b").text for tile in tree.all("div", "tile")}
    assert tiles["memory, rank nearest to its limit"] == "165 MiB"
    assert not any(name.endswith("fullest rank") for name in tiles)
    heads = [head.text for head in tree.all("table", "ranking")[0].one("thead").all("th")]
    assert "most on a rank" in heads
    assert "fullest rank" not in heads


def test_the_limit_is_drawn_and_bars_bear_the_names_of_their_ranks():
    bars = (Bar(rank=0, parts=PARTS, name="ranks 0–15359"), Bar(rank=15360, parts=PARTS, name="ranks 15360–16383"))
    tree = drawn(replace(example(), rooms=(Room(bars=bars, limit=256 * MIB, title="On 16,384 × made-up"),)))
    (picture,) = tree.all("svg", "memory")
    assert picture.one("line", "limit")
    assert {name.text for name in picture.all("text", "name")} == {"ranks 0–15359", "ranks 15360–16383"}
    assert_all_inside(picture)


def test_lines_of_the_step_bear_the_names_of_their_ranks_inside_the_picture():
    named = replace(example(), lane_names=("ranks 0–8191", "ranks 8192–16383"))
    (picture,) = drawn(named).all("svg", "timeline")
    assert [name.text for name in picture.all("text", "name")] == ["ranks 0–8191", "ranks 8192–16383"]
    assert_all_inside(picture)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian's package chromium has it)")
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_browser_draws_it_and_says_nothing(tmp_path, mode):
    page = tmp_path / "plan.html"
    page.write_text(render_plan(example()), encoding="utf-8")
    look = look_at(page, tmp_path / f"{mode}.png", dark=mode == "dark")
    assert look.console == ()
    tree = parse(look.document)
    assert [section.attributes["id"] for section in tree.all("section")] == SECTIONS
    assert tree.one("div", "tip"), "its script did not run"


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian's package chromium has it)")
@pytest.mark.parametrize("width", [1280, 390])
def test_it_does_not_scroll_sideways(tmp_path, width):
    """In a frame of that width: a window of headless Chromium is never narrower than 500."""
    page, frame = tmp_path / "plan.html", tmp_path / "frame.html"
    probe = "<script>parent.postMessage([document.documentElement.scrollWidth, innerWidth].join(), '*')</script></body>"
    page.write_text(render_plan(example()).replace("</body>", probe), encoding="utf-8")
    frame.write_text(
        "<!doctype html><title>nothing heard</title><script>onmessage = (e) => { document.title = e.data }</script>"
        f'<iframe src="plan.html" style="width:{width}px;height:900px;border:0"></iframe>'
    )
    look = look_at(frame, tmp_path / "frame.png", width=1300, height=900)
    assert parse(look.document).one("title").text == f"{width},{width}"

"""The page of a bench: what it says, what it draws, in a real browser too; nothing that a user wrote is code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plait.errors import UnusableInput
from plait.plans.files import plan_table
from plait.plans.plan import Plan
from plait.report.bench_page import render_bench
from plait.report.bench_run import bench_data
from tests.report.browser import CHROMIUM, look_at
from tests.report.reading import parse

SECTIONS = ["scatter", "plans", "failed", "guesses"]


def side(step: float, memory: int) -> dict[str, Any]:
    exposed = {"data": 0.1 * step, "tensor": 0.0, "pipeline": 0.0}
    terms = {"compute": 0.7 * step, "bubble": 0.1 * step, "optimizer": 0.1 * step, "exposed": exposed}
    return {"step_seconds": step, "memory_bytes": [memory, memory], **terms, "stages": [], "transfers": []}


def plan(name: str, predicted: float, measured: float) -> dict[str, Any]:
    return {
        "plan": plan_table(Plan(stages=(2,))), "name": name, "predicted": side(predicted, 2**20),
        "measured": side(measured, 2**21), "repeats": 3, "each_repeat": [measured * k for k in (0.95, 1.0, 1.1)],
        "interval": [0.9 * predicted, 1.1 * predicted], "spread": 0.075, "guesses": ["links were not measured"],
        "departures": [{"term": "data", "words": "along the data axis 3.0 × what was predicted"}],
    }  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """A bench of three plans, the slowest predicted worst, and one that failed."""
    document = {
        "times_as_long": 1.24,
        "plans": [
            plan("data 2, <b>microbatch 4</b>", 0.1, 0.11), plan("tensor 2", 0.12, 0.2), plan("one rank", 0.15, 0.1),
        ],
        "failed": [{"plan": plan_table(Plan(data=2, stages=(2,), data_shares=(1, 1))), "error": "rank 1: killed"}],
        "agreement": {"spearman": 0.5, "pick": 0, "regret": 0.1, "median_error": 0.4, "repeat_spread": 0.075},
        "machine": {"processor": "made up", "cores": 2, "memory_bytes": 2**30},
        "date": "2026-11-29",
    }  # fmt: skip
    (tmp_path / "bench.json").write_text(json.dumps(document))
    return tmp_path


def test_it_says_what_the_pick_cost_and_marks_the_worst(run):
    tree = parse(render_bench(bench_data(run)))
    assert [section.attributes["id"] for section in tree.all("section")] == SECTIONS
    assert tree.one("p", "promise").text == (
        "The pick, data 2, <b>microbatch 4</b>, took 110 ms a step: 10.0 % longer than the fastest. This machine takes "
        "1.24 × as long as when it was profiled: predictions are of a faster one."
    )
    rows = tree.one("table", "bench").one("tbody").all("tr")
    assert [row.one("th").text.split(" ")[0] for row in rows] == ["one", "data", "tensor"], "by measured step"
    assert ["worst predicted" in row.text for row in rows] == [True, False, False]
    assert "rank 1: killed" in tree.text


def test_every_plan_is_a_point_and_the_worst_another_one(run):
    tree = parse(render_bench(bench_data(run)))
    points = tree.one("svg", "scatter").all("circle")
    assert [("worst" in point.attributes["class"]) for point in points] == [True, False, False]
    one, data, tensor = (float(point.attributes["cx"]) for point in points)
    assert data < tensor < one, "across by what was predicted"
    heights = [float(point.attributes["cy"]) for point in points]
    assert heights == sorted(heights, reverse=True), "up by what was measured"


def test_a_bench_of_nothing_says_so(tmp_path):
    document = {"plans": [], "failed": [], "agreement": None}
    (tmp_path / "bench.json").write_text(json.dumps(document))
    tree = parse(render_bench(bench_data(tmp_path)))
    assert tree.one("p", "promise").text == "No plan was measured."
    assert tree.all("section") == []


@pytest.mark.parametrize("document", ["{", '{"plans": []}', '{"plans": [3], "agreement": null, "failed": []}'])
def test_a_document_that_is_none_is_named(tmp_path, document):
    (tmp_path / "bench.json").write_text(document)
    with pytest.raises(UnusableInput, match=r"bench\.json"):
        bench_data(tmp_path)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian's package chromium has it)")
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_browser_draws_it_and_says_nothing(run, mode):
    page = run / "report.html"
    probe = "<script>document.title = String(document.documentElement.scrollWidth <= innerWidth)</script></body>"
    page.write_text(render_bench(bench_data(run)).replace("</body>", probe), encoding="utf-8")
    look = look_at(page, run / f"{mode}.png", dark=mode == "dark")
    assert look.console == ()
    tree = parse(look.document)
    assert [section.attributes["id"] for section in tree.all("section")] == SECTIONS
    assert tree.one("title").text == "true", "it scrolls sideways"

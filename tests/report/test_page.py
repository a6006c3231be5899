"""The whole page: well-formed, alone, the same twice, whole where parts are missing, deaf to what users write."""

import re
from dataclasses import fields, replace
from math import inf, nan

import pytest

from plait.plans.plan import Plan
from plait.report.data import Learning, Measured, ReportData, Sample, Verdict
from plait.report.page import render_report
from tests.report.example import example, lanes, losses, prediction
from tests.report.reading import assert_all_inside, parse

SECTIONS = ["plan", "rivals", "proof", "learning", "comparison", "step", "memory", "samples", "again"]
OPTIONAL = [field.name for field in fields(ReportData) if field.name != "name"]
EVIL = "</script><script>alert('x')</script><img src=x onerror=alert(1)>\x00\ud800"


def sections(data):
    return [section.attributes["id"] for section in parse(render_report(data)).all("section")]


def section(tree, name):
    (found,) = (one for one in tree.all("section") if one.attributes["id"] == name)
    return found


def test_it_has_every_section_once_and_is_well_formed():
    page = render_report(example())
    tree = parse(page.removeprefix("<!doctype html>"))
    assert page.startswith('<!doctype html>\n<html lang="en">')
    assert [section.attributes["id"] for section in tree.all("section")] == SECTIONS
    assert tree.one("title").text == "demo · Plait"
    assert_all_inside(tree)


def test_it_fetches_nothing():
    page = render_report(example())
    assert "http" not in page
    assert re.findall(r"@import|url\((?!#)|<iframe|<object|<embed", page) == []
    tree = parse(page)
    assert [e.attributes["href"] for e in tree.walk() if "href" in e.attributes] == ["data:,"]
    assert not any("src" in element.attributes for element in tree.walk())


def test_it_is_the_same_twice():
    assert render_report(example()) == render_report(example())


def test_every_id_is_given_once():
    ids = [element.attributes["id"] for element in parse(render_report(example())).walk() if "id" in element.attributes]
    assert len(ids) == len(set(ids))


def test_the_main_figures_are_those_given():
    tiles = {tile.one("h3").text: tile.one("b").text for tile in parse(render_report(example())).all("div", "tile")}
    assert tiles == {
        "step": "337 ms",
        "held-out loss": "2.744",
        "throughput": "12,169",
        "memory, fullest rank": "203 MiB",
        "same model as one device?": "yes",
    }


def test_the_promise_is_kept_or_broken_in_words():
    said = parse(render_report(example())).one("p", "promise").text
    assert said == "The plan said 316 ms a step. It took 337 ms: the prediction is 6.2 % too short."
    before, after = prediction(step=0.3), Measured(step_seconds=0.3, tokens_per_second=1.0)
    exact = parse(render_report(ReportData(name="x", prediction=before, measured=after)))
    assert exact.one("p", "promise").text.endswith("the prediction is exact.")
    planned = parse(render_report(ReportData(name="x", prediction=before)))
    assert planned.one("p", "promise").text == "The plan says 300 ms a step."


def test_held_out_loss_stands_before_during_and_after():
    losses_ = parse(render_report(example())).one("dl", "losses")
    assert [dt.text for dt in losses_.all("dt")] == ["before · step 0", "during · step 100", "after · step 200"]
    assert [dd.text for dd in losses_.all("dd")] == ["8.334", "3.207", "2.744"]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_held_out_losses(count):
    learning = Learning(train=losses(), validation=tuple((step, 3.0) for step in range(count)))
    assert len(parse(render_report(ReportData(name="x", learning=learning))).all("dt")) == count


def test_the_plan_stands_there_whole_with_what_was_chosen():
    settings = parse(render_report(example())).one("dl", "settings")
    found = {row.one("dt").text: row.one("dd").text for row in settings.all("div")}
    assert list(found) == [field.name for field in fields(Plan)]
    assert (found["stages"], found["schedule"], found["microbatch"]) == ("4, 4", "1f1b", "2")
    chosen = {row.one("dt").text for row in settings.all("div", "set")}
    assert chosen == {"data", "pipeline", "microbatch", "stages", "data_shares", "bucket_bytes"}


def test_whose_doing_a_difference_is_and_what_was_a_guess_stand_there():
    said = prediction()
    slow = replace(said.terms, compute=said.terms.compute + 0.1)
    found = replace(
        example(),
        prediction=replace(said, stages=(said.terms, said.terms)),
        measured=replace(example().measured, stages=(said.terms, slow), terms=slow, other_cores=1.0),
    )
    lines = parse(render_report(found)).one("ul", "departures").all("li")
    assert lines[0].text.startswith("other programs kept 1.0 cores busy")
    assert lines[1].text == "stage 1 computes 1.4 × what was predicted: +100 ms"
    assert lines[-1].text == f"a guess: {example().guesses[0]}"
    assert parse(render_report(replace(found, guesses=(), measured=None))).all("ul", "departures") == []


def test_samples_and_commands_are_shown_as_they_are():
    tree = parse(render_report(example()))
    sample, again = (section(tree, name) for name in ("samples", "again"))
    assert sample.all("pre")[0].text == "def get(" + example().samples[0].text
    assert [li.text for li in again.all("li")] == list(example().commands)


@pytest.mark.parametrize("left_out", OPTIONAL)
def test_a_missing_part_leaves_no_hole(left_out):
    defaults = {field.name: field.default for field in fields(ReportData)}
    page = render_report(replace(example(), **{left_out: defaults[left_out]}))
    assert_complete(parse(page))
    assert "None" not in parse(page).one("body").text


def assert_complete(tree):
    """No section without a title and a body, no empty paragraph, item or cell of a list."""
    assert_all_inside(tree)
    for section in tree.all("section"):
        assert section.one("h2").text
        panel = section.one("div", "panel")
        assert panel.text.strip() or panel.all("svg")
    assert [
        e.tag for tag in ("p", "li", "h1", "h2", "h3", "dt", "b") for e in tree.all(tag) if not e.text.strip()
    ] == []


def test_a_name_alone_is_a_page():
    tree = parse(render_report(ReportData(name="alone")))
    assert tree.one("h1").text == "alone"
    assert_complete(tree)
    assert sections(ReportData(name="alone")) == []


def test_what_users_write_stays_words():
    data = example()
    learning = replace(data.learning, baselines={EVIL: 3.0})
    plans = tuple(replace(plan, lost_because=EVIL) for plan in data.search.plans)
    odd = replace(
        data,
        name=EVIL,
        date=EVIL,
        machine=replace(data.machine, processor=EVIL),
        job=replace(data.job, details=(EVIL,)),
        plan=replace(data.plan, schedule=EVIL),
        search=replace(data.search, plans=plans),
        verdict=Verdict(verdict=EVIL, sentence=EVIL),
        learning=learning,
        samples=(Sample(prompt=EVIL, text=EVIL),),
        commands=(EVIL,),
    )
    page = render_report(odd)
    tree = parse(page)
    page.encode("utf-8")
    assert len(tree.all("script")) == 1
    assert tree.all("img") == []
    written = EVIL.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    assert tree.one("h1").text == written
    assert written in tree.all("pre")[0].text


@pytest.mark.parametrize("ranks", [1, 3, 64])
def test_few_and_many_ranks(ranks):
    data = replace(
        example(),
        plan=Plan(pipeline=ranks, stages=(1,) * ranks),
        prediction=prediction(ranks),
        predicted_lanes=lanes(ranks),
        measured_lanes=lanes(ranks, slower=0.3),
    )
    tree = parse(render_report(data))
    assert_complete(tree)
    assert len(render_report(data)) < 3_000_000


@pytest.mark.parametrize("value", [nan, inf, 0.0, 1e-12, 1e12, -1.0])
def test_odd_measurements_break_nothing(value):
    data = example()
    measured = replace(data.measured, step_seconds=value, tokens_per_second=value, each_step=((1, value), (2, 0.3)))
    page = render_report(replace(data, measured=measured))
    assert_complete(parse(page))
    assert not re.search(r'="-?(nan|inf)"', page)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_hardly_any_step(steps):
    learning = Learning(train=losses(steps), validation=((0, 8.0),) if steps else ())
    data = replace(example(), learning=learning)
    assert_complete(parse(render_report(data)))
    assert ("learning" in sections(data)) == bool(steps)


def test_losses_that_are_no_numbers_are_said():
    learning = Learning(train=((1, nan), (2, inf)), validation=((0, nan),))
    tree = parse(render_report(replace(example(), learning=learning)))
    assert_complete(tree)
    assert tree.one("p", "warning").text == "3 losses are not numbers: step 0 to 2."


def test_a_step_that_is_not_typical_is_said_to_be_none():
    data = replace(example(), measured_lanes=lanes(slower=1.0))
    (said,) = section(parse(render_report(data)), "step").all("p", "lede")
    assert re.search(r"The step drawn took \d+ ms; a steady one takes 337 ms\.$", said.text)
    assert "steady" not in section(parse(render_report(example())), "step").one("p", "lede").text


def test_a_verdict_of_a_bug_is_no():
    tree = parse(render_report(ReportData(name="x", verdict=Verdict(verdict="BUG", sentence="Not the same."))))
    assert tree.one("div", "tile").one("b").text == "no"
    assert tree.one("b", "stamp", "no").text == "BUG"

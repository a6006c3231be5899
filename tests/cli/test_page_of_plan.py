"""`--page`: what is drawn is what was found, on machines that were measured and on those of the catalogue."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w

from plait.api import load
from plait.cli.main import main
from plait.cli.page_of_cluster import page_of_cluster, page_on_cluster
from plait.cli.page_of_plan import bars_of, lane_names, page_of_one, page_of_search
from plait.clusters.answer import plan_cluster, price_plan, step_on
from plait.planner.changes import changes
from plait.planner.prices import JobPrices
from plait.planner.search import search
from plait.planner.simulator import played
from plait.plans.completion import complete
from plait.plans.plan import Plan
from plait.report.plan_page import render_plan
from plait.report.spans import end_of
from plait.specs.cluster import ClusterSpec
from plait.specs.measurement_files import write_measurements
from tests.contract.golden import contract_table
from tests.planner.machines import machine
from tests.report.reading import parse

ELSEWHERE = {"device": "l40s", "nodes": 2, "devices_per_node": 4, "price_per_hour": 1.5}
TRAINING = {"global_batch": 16, "sequence_length": 1024, "steps": 500}
KNOWN = machine(cores=2, dispatch=2e-6)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    write_measurements(KNOWN, tmp_path / "cache" / "measurements.json")
    return tmp_path


def here(**plan):
    Path("here.toml").write_text(tomli_w.dumps({**contract_table(without=["plan"]), "plan": plan}))
    return load("here.toml")


def there(cluster=ELSEWHERE, **plan):
    tables = {"model": {"name": "gpt2"}, "training": TRAINING, "cluster": cluster, "plan": plan}
    Path("there.toml").write_text(tomli_w.dumps(tables))
    return load("there.toml")


@pytest.mark.parametrize("keys", [{"pipeline": 4}, {"pipeline": 2, "data": 2}, {"data": 4}, {"tensor": 2, "data": 2}])
def test_the_drawn_step_ends_with_the_predicted_one(keys):
    job = here(**keys)
    plans = search(job, KNOWN)
    best = plans.best
    page = page_of_one(Path("here.toml"), job, KNOWN, played(best.plan, best.prices), best.prices)
    assert end_of(page.lanes) == pytest.approx(best.prediction.step_seconds)
    assert len(page.lanes) == len(page.lane_names) == best.plan.pipeline
    assert page.interval == best.prediction.interval


@pytest.mark.parametrize("keys", [{"pipeline": 4, "schedule": "1f1b"}, {"data": 8}, {"tensor": 2, "pipeline": 2}])
def test_so_it_does_on_machines_of_the_catalogue(keys):
    job = there(**keys)
    best = plan_cluster(job).best
    page = page_on_cluster(Path("there.toml"), job, price_plan(job, best.plan), step_on(job, best.plan))
    assert end_of(page.lanes) == pytest.approx(best.found.seconds)
    assert sum(page.terms.exposed.values()) + page.terms.compute + page.terms.bubble + page.terms.optimizer == (
        pytest.approx(page.step_seconds)
    )


def test_ranks_that_share_their_hosts_memory_are_drawn_together_too():
    job = here(pipeline=2, data=2)
    plans = search(job, KNOWN)
    page = page_of_search(Path("here.toml"), job, KNOWN, plans, changes(job, KNOWN, plans), ())
    each, together = page.rooms
    held = tuple(bar.total - bar.parts["reserved"] for bar in each.bars)
    assert held == plans.best.prediction.memory_bytes
    assert all(bar.parts["reserved"] == pytest.approx(0.05 * bytes) for bar, bytes in zip(each.bars, held, strict=True))
    assert together.bars[0].total == sum(bar.total for bar in each.bars)
    assert (each.limit, together.limit) == (None, 2**40)
    assert {one.what for one in page.changes} == {
        "links twice as fast", "links half as fast", "twice the memory", "half the memory",
    }  # fmt: skip


def test_hosts_are_drawn_each_beside_its_own_memory():
    job = replace(here(pipeline=2, data=2), cluster=ClusterSpec(ranks=4, nodes=2))
    plans = search(job, KNOWN)
    each, together = page_of_search(Path("here.toml"), job, KNOWN, plans, changes(job, KNOWN, plans), ()).rooms
    assert [bar.name for bar in together.bars] == ["host 0", "host 1"]
    assert [bar.total for bar in together.bars] == [sum(bar.total for bar in each.bars[at : at + 2]) for at in (0, 2)]
    assert together.limit == 2**40


def test_devices_have_a_limit_of_their_own():
    prices_of = machine()  # a device a rank
    job = here(data=4)
    prices = JobPrices(job.model, job.training, prices_of, job.cluster)
    one = played(search(job, prices_of).best.plan, prices)
    (room,) = page_of_one(Path("here.toml"), job, prices_of, one, prices).rooms
    assert room.limit == 2**40


def test_a_cluster_has_a_bill_and_the_limit_of_its_devices():
    job = there()
    plans = plan_cluster(job)
    page = page_of_cluster(Path("there.toml"), plans)
    assert page.cost.run_money == pytest.approx(1.5 * 8 * page.cost.run_seconds / 3600)
    assert page.cost.run_seconds == pytest.approx(500 * page.step_seconds)
    assert page.cost.run_joules
    (room,) = page.rooms
    assert room.limit == plans.tasks[0].machines.device.memory_bytes
    assert tuple(bar.total for bar in room.bars) == plans.best.found.memory_bytes
    assert page.search
    assert len(page.search.plans) + page.search.more == len(plans.plans)


def test_unequal_machines_have_a_room_each():
    groups = [{"device": "h100-80gb", "devices_per_node": 4}, {"device": "l40s", "devices_per_node": 4}]
    job = there({"groups": groups, "inter_link": "ib-hdr"})
    page = page_of_cluster(Path("there.toml"), plan_cluster(job))
    assert [[bar.rank for bar in room.bars] for room in page.rooms] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert page.rooms[0].limit != page.rooms[1].limit


@pytest.mark.parametrize(
    ("keys", "machine", "batch", "drawn"),
    [
        ({"data": 2, "pipeline": 2}, KNOWN, 16, (False, 2, 2)),
        ({"data": 2, "pipeline": 2}, KNOWN, 15, (True, 2, 1)),
        ({"data": 2, "tensor": 2, "data_shares": [3, 1]}, KNOWN, 16, (True, 1, 2)),
        ({"data": 4}, replace(KNOWN, speeds=(1.0, 1.0, 1.0, 0.5)), 16, (True, 1, 1)),
    ],
)
def test_of_replicas_that_differ_the_slowest_alone_is_drawn_and_that_is_said(keys, machine, batch, drawn):
    job = here(tensor=1, zero=0, **keys) if "tensor" not in keys else here(zero=0, **keys)
    job = replace(job, training=replace(job.training, global_batch=batch))
    prices = JobPrices(job.model, job.training, machine, job.cluster)
    page = page_of_one(Path("here.toml"), job, machine, played(complete(job), prices), prices)
    assert (page.replicas_differ, len(page.lanes), page.ranks_a_lane) == drawn
    written = next(one.text for one in parse(render_plan(page)).all("section") if one.attributes["id"] == "step")
    assert ("Replicas differ: the slowest one is drawn." in written) == drawn[0]
    assert "share of the lines' time, predicted" in written


def test_and_so_it_is_on_unequal_machines():
    groups = [{"device": "h100-80gb", "devices_per_node": 4}, {"device": "l40s", "devices_per_node": 4}]
    job = there({"groups": groups, "inter_link": "ib-hdr"}, data=4, tensor=2, pipeline=1)
    page = page_of_cluster(Path("there.toml"), plan_cluster(job))
    assert (page.replicas_differ, page.lane_names, page.ranks_a_lane) == (True, ("slowest replica",), 2)


def test_of_many_ranks_those_that_hold_the_same_are_one_bar():
    one, other = {"weights": 3}, {"weights": 4}
    assert [bar.name for bar in bars_of([(one, 2), (other, 1)], 4)] == ["rank 4", "rank 5", "rank 6"]
    many = bars_of([(one, 20), (one, 20), (other, 1)], 8)
    assert [(bar.rank, bar.name, bar.total) for bar in many] == [(8, "ranks 8–47", 3), (48, "rank 48", 4)]


def test_lines_are_called_by_their_ranks():
    assert lane_names(Plan(pipeline=2, stages=(1, 1))) == ("rank 0", "rank 1")
    assert lane_names(Plan(pipeline=2, data=2, stages=(1, 1), data_shares=(1, 1))) == ("ranks 0–1", "ranks 2–3")


@pytest.mark.parametrize("write", [here, there])
def test_both_commands_write_it_and_say_where(write, capsys):
    write()
    name = f"{write.__name__}.toml"
    assert main(["plan", name, "--page", "plan.html", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["page"] == "plan.html"
    sections = [one.attributes["id"] for one in parse(Path("plan.html").read_text()).all("section")]
    assert {"rivals", "plan", "step", "memory", "cost", "changes", "thoughts"} <= set(sections)
    assert main(["simulate", name, "--plan", "plan.toml", "--page", "step.html"]) == 0
    assert "page written to step.html" in capsys.readouterr().out
    sections = [one.attributes["id"] for one in parse(Path("step.html").read_text()).all("section")]
    # that no published run of its device in fp32 was looked at; that it was measured on another machine
    assert sections == ["plan", "step", "memory", "cost", "notes", "again"]


def commands_of(page):
    listed = parse(Path(page).read_text()).one("ol", "commands")
    return [item.text.strip() for item in listed.all("li")]


@pytest.mark.parametrize(("write", "runs"), [(here, True), (there, False)])
def test_what_a_page_says_to_do_again_names_what_was_written(write, runs, capsys):
    write()
    job = f"{write.__name__}.toml"
    assert main(["plan", job, "--page", "my page.html", "--out", "best.toml"]) == 0
    after = [f"plait verify {job} --plan best.toml", f"plait train {job} --plan best.toml"]
    said = commands_of("my page.html")
    assert said == [f"plait plan {job} --out best.toml --page 'my page.html'", *after[: 2 if runs else 1]]
    assert main(["simulate", job, "--plan", "best.toml", "--page", "step.html"]) == 0
    assert commands_of("step.html") == [f"plait simulate {job} --plan best.toml --page step.html"]
    for line in (said[0], *commands_of("step.html")):
        assert main(shlex.split(line)[1:]) == 0
    Path("plan.toml").write_text("[plan]\n")
    assert main(["plan", job, "--page", "plan.html"]) == 0
    assert commands_of("plan.html") == [f"plait plan {job} --page plan.html"]  # nothing was written to go on with


def test_a_page_says_what_else_was_asked(capsys, place):
    here()
    write_measurements(KNOWN, place / "known.json")
    assert main(["plan", "here.toml", "--page", "a.html", "--measurements", "known.json", "--explain", "2"]) == 0
    assert commands_of("a.html") == [
        "plait plan here.toml --explain 2 --page a.html --measurements known.json",
        "plait verify here.toml --plan plan.toml",
        "plait train here.toml --plan plan.toml --measurements known.json",
    ]
    there()
    assert main(["plan", "there.toml", "--page", "b.html", "--objective", "money"]) == 0
    assert commands_of("b.html")[0] == "plait plan there.toml --page b.html --objective money"


def test_a_page_that_can_not_be_written_is_named(capsys):
    there()
    assert main(["plan", "there.toml", "--page", "no/such/plan.html", "--json"]) == 2
    assert "the page can't be written to no/such/plan.html" in json.loads(capsys.readouterr().out)["error"]["message"]

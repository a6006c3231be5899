"""Offload on machines of the catalogue: proposed where nothing fits, priced where it is asked for, told honestly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from plait.api import load
from plait.cli.main import main
from plait.clusters.answer import plan_cluster, price_plan
from plait.clusters.hosts import bytes_on_hosts
from plait.clusters.tasks import tasks_of
from plait.errors import NothingFits, UnusableInput
from plait.estimates.arrangements import SCHEDULES
from plait.layers.parameters import parameters
from plait.specs.model import ModelSpec
from plait.specs.presets import PRESETS
from plait.units import Seconds
from tests.clusters.jobs import SMALL, job, unequal

JOBS = Path(__file__).parents[2] / "examples" / "jobs"
LARGE = ModelSpec(**PRESETS["llama3-70b"], max_positions=4096)
MOVED = 'plan.offload = "optimizer"'


def test_70b_on_rtx_4090_needs_half_as_many_machines_with_it():
    asked = load(JOBS / "llama3_70b_rtx4090.toml")
    with pytest.raises(NothingFits, match="nodes = 16 ") as found:
        plan_cluster(asked)
    assert f"{MOVED} with nodes = 8 (32 devices): 18.7 GiB of 23.6 GiB, and 143 GiB in each host's memory" in str(
        found.value
    )
    moved = load(JOBS / "llama3_70b_rtx4090_offload.toml")
    best = plan_cluster(moved).best
    assert (moved.cluster.nodes, best.plan.offload) == (8, "optimizer")
    assert best.found.terms.optimizer > 1.0  # the update is on the host, and nothing hides it
    state = 16 * parameters(moved.model).total / 8
    assert state <= best.host_bytes < 1.2 * state  # the fullest host; stages are unequal
    without = replace(moved, constraints={})
    with pytest.raises(NothingFits):
        plan_cluster(without)


def test_on_a_large_enough_device_it_alone_is_advised():
    eight = job(8, model=LARGE, batch=16, device="h100-80gb")
    with pytest.raises(NothingFits) as found:
        plan_cluster(eight)
    best = plan_cluster(replace(eight, constraints={"offload": "optimizer"})).best
    assert best.plan.offloads
    told = str(found.value).partition(f"would fit: {MOVED}: ")[2].partition("; or ")[0]
    assert told.endswith(f", {Seconds(best.found.seconds)} a step")  # that of its best plan, not of the nearest at hand


def test_a_search_tries_it_only_where_it_is_asked_for():
    assert not any(one.plan.offloads for one in plan_cluster(job(8)).plans)
    found = plan_cluster(job(8, offload="optimizer"))
    assert all(one.plan.offloads for one in found.plans)
    assert all(one.plan.offloads for one in found.obvious if one.plan)
    assert found.best.found.seconds > plan_cluster(job(8)).best.found.seconds


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("zero", range(4))
def test_no_schedule_and_no_level_is_refused_with_it(schedule, zero):
    asked = job(8, schedule=schedule, zero=zero, pipeline=2)
    plan = plan_cluster(asked).best.plan
    here, there = price_plan(asked, plan), price_plan(asked, replace(plan, offload="optimizer"))
    assert there.terms.optimizer > here.terms.optimizer
    assert replace(there.terms, optimizer=0.0) == replace(here.terms, optimizer=0.0)
    assert max(there.memory_bytes) < max(here.memory_bytes)


def test_hosts_are_summed_over_their_own_ranks():
    asked = job(16, offload="optimizer", pipeline=4, tensor=1, zero=1, context=1, schedule="1f1b")
    found = plan_cluster(asked)
    one, (task,) = found.best.found, tasks_of(asked)
    each = [held.host for held in one.memory]
    (hosts,) = bytes_on_hosts(one, [task.machines])
    assert hosts == pytest.approx(4 * max(each[0] + each[1], each[2] + each[3]))  # two places of four ranks on each
    assert found.best.host_bytes == hosts


def test_unequal_machines_update_on_their_own_hosts():
    asked = unequal(offload="optimizer")
    best = plan_cluster(asked).best
    assert best.plan.offloads
    hosts = bytes_on_hosts(best.found, [task.machines for task in tasks_of(asked)])
    assert sum(hosts) >= 16 * parameters(SMALL).total
    told = plan_cluster(asked).cautions
    assert any("pcie5 at 56 GB/s and pcie4 at 26 GB/s" in words for words in told)
    assert sum("of the memory of each host with" in words for words in told) == 2


def test_what_is_assumed_is_told():
    (rate, need) = plan_cluster(job(8, offload="optimizer")).cautions
    assert "taken to read and write 10 GB/s" in rate
    assert "neither behind forward or backward" in rate
    assert need.endswith("how much it has, the catalogue doesn't know")
    assert plan_cluster(job(8)).cautions == ()


def test_a_host_whose_memory_is_known_is_checked():
    asked = job(20, model=ModelSpec(**PRESETS["llama3.1-405b"], max_positions=1024), batch=40, device="gb200", each=4,
                offload="optimizer")  # fmt: skip
    with pytest.raises(NothingFits, match=r"needs 302 GiB of the 224 GiB that its host has for each gb200") as found:
        plan_cluster(asked)
    assert "nodes = 10 (40 devices)" in str(found.value)
    fits = plan_cluster(job(8, device="gb200", each=4, offload="optimizer"))
    assert any("it has 894 GiB" in words for words in fits.cautions)


def test_where_nobody_published_the_link_to_a_host_it_is_refused_alone():
    assert plan_cluster(job(8, device="tpu-v5p", each=4)).best
    with pytest.raises(UnusableInput, match=r"offload = \"optimizer\" can't be priced on tpu-v5p: .* not published"):
        plan_cluster(job(8, device="tpu-v5p", each=4, offload="optimizer"))


def test_commands_tell_it(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = str(JOBS / "llama3_70b_rtx4090_offload.toml")
    assert main(["check", path]) == 0
    assert "caution" not in capsys.readouterr().out  # that it gains nothing is of a CPU's memory
    assert main(["plan", path, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["plans"][0]["plan"]["offload"] == "optimizer"
    assert document["plans"][0]["host_bytes"] > 100 * 2**30
    assert main(["plan", str(JOBS / "llama2_7b_4_gpus.toml"), "--json", "--top", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["plans"][0]["host_bytes"] == 0

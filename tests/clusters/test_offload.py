"""Offload on machines of the catalogue: proposed where nothing fits, priced where it is asked for, told honestly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from plait.api import load
from plait.cli.main import main
from plait.clusters.answer import plan_cluster, price_plan
from plait.errors import NothingFits, UnusableInput
from plait.estimates.arrangements import SCHEDULES
from plait.estimates.estimate import RISK
from plait.layers.parameters import parameters
from plait.plans.completion import complete
from plait.plans.files import write_plan
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
    assert state <= best.found.host_bytes < 1.2 * state  # the fullest host; stages are unequal
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
    one = found.best.found
    each = [held.host for held in one.memory]
    assert one.host_bytes == pytest.approx(4 * max(each[0] + each[1], each[2] + each[3]))  # two places of four ranks


def test_unequal_machines_update_on_their_own_hosts():
    asked = unequal(offload="optimizer")
    best = plan_cluster(asked).best
    assert best.plan.offloads
    assert sum(host.held for host in best.found.hosts) >= 16 * parameters(SMALL).total
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
    with pytest.raises(
        NothingFits, match=r"all ranks of a host together need 1.18 TiB of the 894 GiB that a host"
    ) as found:
        plan_cluster(asked)
    assert "nodes = 10 (40 devices)" in str(found.value)
    fits = plan_cluster(job(8, device="gb200", each=4, offload="optimizer"))
    assert any("it has 894 GiB" in words for words in fits.cautions)


UNEVEN = """
[model]
layers = LAYERS
hidden = 8192
heads = 64
ffn = 32768
vocab = 400_000
tie_embeddings = false
[training]
precision = "bf16"
sequence_length = 1024
global_batch = 32
[cluster]
device = "gb200"
nodes = 1
devices_per_node = 4
[plan]
"""  # the first and the last stage have a large table besides
FOUR_STAGES = """
offload = "optimizer"
pipeline = 4
data = 1
tensor = 1
context = 1
schedule = "1f1b"
recompute = "full"
microbatch = 1
"""


def uneven(folder: Path, layers: int, plan: str = FOUR_STAGES) -> Path:
    """Four stages on a host of four GB200."""
    path = folder / "job.toml"
    path.write_text(UNEVEN.replace("LAYERS", str(layers)) + plan, encoding="utf-8")
    return path


def test_a_host_s_ranks_share_its_memory(tmp_path):
    asked = load(uneven(tmp_path, 64))
    for one in (plan_cluster(asked).best.found, price_plan(asked, complete(asked))):
        part = one.hosts[0].machines.device.host_memory_bytes
        assert max(held.host for held in one.memory) > part > one.host_bytes / 4
        assert one.risk < RISK
    deeper = load(uneven(tmp_path, 70))
    one = price_plan(deeper, complete(deeper))
    assert one.risk == 1.0
    assert one.memory[one.fullest].risk < RISK  # its devices have room
    with pytest.raises(NothingFits, match="all ranks of a host together need") as found:
        plan_cluster(deeper)
    assert "rank 0 dies first" in str(found.value)


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


def test_a_plan_that_is_simulated_or_explained_is_told_what_its_hosts_need(capsys, tmp_path):
    plan, page = tmp_path / "plan.toml", tmp_path / "page.html"
    path = uneven(tmp_path, 64)
    assert main(["plan", str(path), "--json", "--out", str(plan)]) == 0
    best = json.loads(capsys.readouterr().out)["plans"][0]
    assert main(["simulate", str(path), "--plan", str(plan), "--json", "--page", str(page)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [document[key] for key in ("host_bytes", "out_of_memory")] == [best["host_bytes"], best["out_of_memory"]]
    assert document["cautions"][-1].endswith("GiB of the memory of each host with gb200: it has 894 GiB")
    assert "it has 894 GiB" in page.read_text(encoding="utf-8")
    path = uneven(tmp_path, 70)
    write_plan(plan, complete(load(path)))
    assert main(["simulate", str(path), "--plan", str(plan)]) == 0
    assert "it has no more than 894 GiB" in capsys.readouterr().out
    replicas = uneven(tmp_path, 16, plan='offload = "optimizer"\ndata = 4\nmicrobatch = 1\nrecompute = "full"\n')
    write_plan(plan, complete(load(replicas)))
    assert main(["plan", str(uneven(tmp_path, 16, plan="")), "--explain", str(plan), "--out", str(page)]) == 0
    assert "all ranks of a host together need" in capsys.readouterr().out

"""Plait from Python: the names at the door, and that a job from a program is judged like one from a file."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import tomli_w

import plait
from plait.api import require_legal, verify_job
from plait.errors import IllegalJob, UnusableInput
from plait.plans.arrangements import arrangements
from plait.plans.files import read_plan, write_plan
from plait.plans.legality import on_ranks_of, plan_problems
from plait.plans.plan import Plan
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from tests.contract.golden import JOB, contract_table

SMALL = ModelSpec(layers=2, hidden=8, heads=2, kv_heads=2, ffn=32, vocab=256, max_positions=128)


@pytest.fixture
def write(tmp_path):
    def written(table) -> str:
        path = tmp_path / "job.toml"
        path.write_text(tomli_w.dumps(table), encoding="utf-8")
        return str(path)

    return written


def test_the_names_at_the_door_lead_somewhere():
    from plait import api

    assert plait.load is api.load
    assert plait.check is api.check
    assert all(callable(getattr(plait, name)) for name in plait.__all__)
    assert set(plait.__all__) <= set(dir(plait))


def test_there_is_nothing_else_at_the_door():
    with pytest.raises(AttributeError, match="no attribute 'chekc'"):
        _ = plait.chekc


def test_importing_plait_loads_nothing_of_it():
    program = "import sys, plait; print([name for name in sys.modules if name.startswith('plait.')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_a_job_and_its_path_are_judged_alike():
    assert plait.check(plait.load(JOB)) == plait.check(JOB) == plait.check(str(JOB))


def test_what_can_be_read_can_be_asked_about(write):
    path = write(contract_table({"plan.stages": [3, 3]}))
    job = plait.load(path)
    assert plait.check(job) == plait.check(path)
    assert [error.key for error in plait.check(job).errors] == ["plan.stages"]


def test_what_can_t_be_read_tells_everything(write):
    with pytest.raises(IllegalJob) as caught:
        plait.load(write(contract_table({"plan.zero": 4, "plan.stages": [3, 3], "data.text": "no/such.txt"})))
    assert {problem.key for problem in caught.value.problems} == {"plan.zero", "plan.stages", "data.text"}
    with pytest.raises(UnusableInput):
        plait.load("no/such/job.toml")


@pytest.mark.parametrize("cores", [1, 2, 7, 13, 64])
def test_a_job_without_ranks_gets_the_most_it_can_fill(write, monkeypatch, cores):
    monkeypatch.setattr("plait.specs.placing.usable_cores", lambda: cores)
    path = write({"model": {"layers": 3, "hidden": 8, "heads": 2}, "training": {"global_batch": 5}})
    assert plait.check(path).ok
    job = plait.load(path)
    assert job.cluster.ranks <= cores
    assert next(arrangements(job, job.cluster.ranks))
    assert not any(next(arrangements(job, more), None) for more in range(job.cluster.ranks + 1, cores + 1))


@pytest.mark.parametrize("ranks", [1, 4])
def test_a_job_that_leaves_its_ranks_open_takes_those_of_the_plan(write, tmp_path, monkeypatch, ranks):
    """On a machine of two cores, one plan has fewer and one has more."""
    monkeypatch.setattr("plait.specs.placing.usable_cores", lambda: 2)
    job = plait.load(write({"model": {"layers": 3, "hidden": 8, "heads": 2}}))
    assert job.cluster == ClusterSpec(ranks=2, ranks_open=True)
    chosen = Plan(data=ranks, stages=(3,), tensor_shares=(1,), data_shares=(1,) * ranks)
    write_plan(tmp_path / "plan.toml", chosen)
    assert read_plan(tmp_path / "plan.toml", job).plan == chosen
    assert plan_problems(job, chosen) == []
    settled = on_ranks_of(job, chosen)
    assert settled.cluster == ClusterSpec(ranks=ranks)
    require_legal(replace(settled, constraints=vars(chosen)))


def test_ranks_that_the_job_fixes_are_not_the_plan_s_to_choose(write):
    job = plait.load(write({"model": {"layers": 3, "hidden": 8, "heads": 2}, "cluster": {"ranks": 2}}))
    chosen = Plan(stages=(3,), tensor_shares=(1,), data_shares=(1,))
    with pytest.raises(IllegalJob, match="= 1 rank, but the cluster has 2"):
        verify_job(job, chosen)
    assert on_ranks_of(job, chosen).cluster.ranks == 2


def test_a_legal_job_passes_and_another_does_not():
    require_legal(Job(model=SMALL))
    with pytest.raises(IllegalJob, match="exceeds the 2 heads"):
        require_legal(Job(model=SMALL, constraints={"tensor": 3}))


@pytest.mark.parametrize(
    ("job", "key"),
    [
        (Job(model=replace(SMALL, heads=0)), "model.heads"),
        (Job(model=replace(SMALL, vocab=100)), "model.vocab"),
        (Job(model=SMALL, constraints={"zero": 4}), "plan.zero"),
        (Job(model=SMALL, constraints={"tenosr": 3}), "plan.tenosr"),
        (Job(model=SMALL, constraints={"microbatch": 1.5}), "plan.microbatch"),
    ],
)
def test_a_job_from_a_program_is_judged_like_one_from_a_file(job, key):
    assert [error.key for error in plait.check(job).errors] == [key]


def test_a_run_on_other_hosts_than_the_job_s_is_refused(tmp_path):
    job = Job(model=SMALL, cluster=ClusterSpec(ranks=2, nodes=2))
    with pytest.raises(UnusableInput, match="nodes = 2, and this runs on 1 host: start it on each"):
        plait.train(job, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("each", "told"), [(2, []), (3, ["3 ranks share the 2 cores of each host"])])
def test_cores_are_those_of_each_host(monkeypatch, each, told):
    monkeypatch.setattr("plait.api.usable_cores", lambda: 2)
    job = Job(model=replace(SMALL, layers=6), cluster=ClusterSpec(ranks=2 * each, nodes=2, devices_per_node=each))
    found = [one.message for one in plait.check(job).warnings if one.key == "cluster.ranks"]
    assert [message.partition(":")[0] for message in found] == told


def test_torchrun_s_hosts_are_the_job_s_where_it_names_none(write, monkeypatch):
    started = {"TORCHELASTIC_RUN_ID": "any", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
               "GROUP_RANK": "1", "GROUP_WORLD_SIZE": "2", "MASTER_ADDR": "here", "MASTER_PORT": "1"}  # fmt: skip
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    job = plait.load(write({"model": {"layers": 4, "hidden": 8, "heads": 2}}))
    assert (job.cluster.ranks, job.cluster.nodes, job.cluster.ranks_a_node) == (4, 2, 2)
    assert plait.check(job).ok
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")  # 3 on the other host
    assert plait.load(write({"model": {"layers": 4, "hidden": 8, "heads": 2}})).cluster.nodes == 1

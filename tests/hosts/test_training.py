"""`plait train` under torchrun on two hosts: four ranks equal one; what fails ends all within seconds, named."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch

from plait import api
from plait.checkpoint.load import load_whole
from plait.cli.main import main
from plait.devices.host import this_processor
from plait.specs.files import job_from_table
from plait.specs.measurement_files import read_measurements, write_measurements
from tests.hosts.namespaces import Hosts, Launch
from tests.training.runs import MACHINE, forked, tables

PATIENCE = 120  # seconds, of a crowded machine
MODEL = {"layers": 4}  # one a stage
PLANS = {  # others in `test_forms`, in one start for all
    "dp4": ({"data": 4}, "1gbit"),
    "pp4": ({"pipeline": 4, "microbatch": 1}, "200mbit"),  # the first two stages on one host, and so the last two
}
# Plain SGD: what a step adds to a weight is its gradient, clipped.
TWO_STEPS = {
    "steps": 2, "precision": "fp64", "optimizer": "sgd", "betas": [0.9, 0.95], "learning_rate": 0.1, "warmup_steps": 0,
}  # fmt: skip
BROKEN = """
import os
import sys
from plait.cli.main import main
from plait.training import hosts

def broken(assignment):
    raise ValueError("a wrong sum")

if os.environ["RANK"] == "1":
    hosts.train_on_rank = broken
sys.exit(main())
"""
SCRIPTS = {
    "trains.py": "import plait; plait.train(plait.load('job.toml'), run='run')\n",
    "benches.py": (
        "import plait; from plait.cli.benching import bench\n"
        "bench(plait.load('job.toml'), best=1, repeats=1, steps=1, run='bench')\n"
    ),
}
SEVERAL = """
import plait
from plait.cli.benching import bench

job = plait.load("job.toml")
for run in ("first", "second"):
    plait.train(job, run=run)
bench(job, best=1, repeats=1, steps=1, run="third")
"""
LONG = {"steps": 100_000, "validate_every": 100_000}


def job_file(place: Path, *, ranks: int | None = 4, plan: dict[str, Any] | None = None, **training: Any) -> Path:
    """A small job; `ranks` None: left open."""
    job = tables(place, model=MODEL, training=training, cluster={"ranks": ranks}, plan=plan or {})
    if ranks is None:
        del job["cluster"]["ranks"]
    (place / "job.toml").write_text(tomli_w.dumps(job))
    write_measurements(MACHINE, place / "measurements.json")
    return place / "job.toml"


def train(hosts: Hosts, place: Path, *words: str, ranks: int = 2, **environment: str) -> Launch:
    command = ["-m", "plait", "train", "job.toml", "--out", "run", "--measurements", "measurements.json", *words]
    return hosts.launch(place, command, ranks=ranks, environment={"PLAIT_CACHE": str(place / "cache"), **environment})


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, rank_pools: Any) -> Path:
    """The run of one rank that all are laid beside."""
    place = tmp_path_factory.mktemp("one")
    with forked(rank_pools, place):
        job = job_from_table(
            tables(place, model=MODEL, training=TWO_STEPS, plan={"data": 1, "tensor": 1, "pipeline": 1})
        )
        api.train(job, run=place / "run", measurements=MACHINE)
    return place / "run"


@pytest.mark.parametrize(("plan", "rate"), PLANS.values(), ids=PLANS)
def test_four_ranks_on_two_hosts_equal_one(hosts: Hosts, tmp_path: Path, one: Path, plan: Any, rate: str) -> None:
    hosts.throttle(rate)
    open_ranks = "data" in plan  # the world's size, then
    job_file(
        tmp_path, ranks=None if open_ranks else 4, plan={"data": 1, "tensor": 1, "pipeline": 1} | plan, **TWO_STEPS
    )
    launch = train(hosts, tmp_path)
    assert launch.wait(PATIENCE) == [0, 0], launch.files[0].read_text() + launch.files[1].read_text()
    assert "predicted" in launch.outputs[0]
    assert "predicted" not in launch.outputs[1], "only rank 0 speaks"

    for ours, theirs in zip(lines(tmp_path / "run"), lines(one), strict=True):
        assert [ours[key] for key in ("loss", "norm")] == pytest.approx([theirs["loss"], theirs["norm"]], rel=1e-12)
    held, expected = load_whole(tmp_path / "run" / "weights"), load_whole(one / "weights")
    assert held.keys() == expected.keys()
    for name, value in expected.items():
        assert held[name].dtype == torch.float64
        torch.testing.assert_close(held[name], value, rtol=0, atol=1e-12)


def test_a_program_may_hold_one_run_after_another(hosts: Hosts, tmp_path: Path) -> None:
    """Nothing that was said in the first is heard in those that follow, and each is the run that it would be alone."""
    job_file(tmp_path, plan={"data": 2, "pipeline": 2, "microbatch": 1}, **TWO_STEPS)
    (tmp_path / "several.py").write_text(SEVERAL)
    cache = tmp_path / "cache"
    write_measurements(MACHINE, cache / "measurements.json")
    launch = hosts.launch(tmp_path, ["several.py"], ranks=2, environment={"PLAIT_CACHE": str(cache)})
    assert launch.wait(PATIENCE) == [0, 0], "".join(launch.outputs)
    first, second = ([line["loss"] for line in lines(tmp_path / run)] for run in ("first", "second"))
    assert first == second
    assert json.loads((tmp_path / "third" / "bench.json").read_text())["plans"][0]["repeats"] == 1


@pytest.mark.parametrize(("number", "words"), [(signal.SIGKILL, "its process is gone"), (signal.SIGSTOP, "stopped")])
def test_a_lost_rank_is_named_and_ends_all(hosts: Hosts, tmp_path: Path, number: int, words: str) -> None:
    job_file(tmp_path, plan={"data": 4}, **LONG)
    launch = train(hosts, tmp_path)
    launch.until("after step 0", PATIENCE)
    lost = hosts.ranks()[3]
    os.kill(lost, number)
    ended = ended_within(hosts, 10)
    assert all(code != 0 for code in launch.wait(PATIENCE))
    for output in launch.outputs:
        assert f"rank 3 (process {lost}" in output, output
        assert words in output
    assert ended, launch.outputs


def ended_within(hosts: Hosts, seconds: float) -> bool:
    """Whether every rank has."""
    end = time.monotonic() + seconds
    while hosts.ranks():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_what_was_planned_alone_is_what_hosts_predict_that_were_measured_together(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what they took corrects that profile, and no other."""
    job = tables(tmp_path, model=MODEL, cluster={"ranks": 2, "nodes": 2}, plan={"data": 2})
    (tmp_path / "job.toml").write_text(tomli_w.dumps(job))
    processor, cores = this_processor()
    one = replace(MACHINE, host=replace(MACHINE.host, processor=processor, cores=cores))
    across = tuple(replace(link, hosts=2, alpha0=0.01, overhead=1e-4) for link in one.collectives)
    alone, together = (tmp_path / "cache" / f"measurements{name}.json" for name in ("", "-2-hosts"))
    write_measurements(one, alone)
    write_measurements(replace(one, collectives=(*one.collectives, *across)), together)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    assert main(["plan", "job.toml", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)

    for name, script in SCRIPTS.items():
        (tmp_path / name).write_text(script)
        launch = hosts.launch(tmp_path, [name], ranks=1, environment={"PLAIT_CACHE": str(tmp_path / "cache")})
        assert launch.wait(PATIENCE) == [0, 0], launch.files[0].read_text() + launch.files[1].read_text()
    predicted = json.loads((tmp_path / "run" / "prediction.json").read_text())
    assert predicted["step_seconds"] == planned["plans"][0]["step_seconds"]
    assert predicted["guesses"] == planned["guesses"]
    (benched,) = json.loads((tmp_path / "bench" / "bench.json").read_text())["plans"]
    assert benched["predicted"]["step_seconds"] == predicted["step_seconds"]

    assert main(["profile", "--from-run", "run", "--cut", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["written"] == str(together)
    assert read_measurements(together).corrections, "a made-up machine is wrong about this one"
    assert read_measurements(alone) == one


def test_a_cut_cable_ends_both_hosts(hosts: Hosts, tmp_path: Path) -> None:
    job_file(tmp_path, ranks=2, plan={"data": 2}, **LONG)
    launch = train(hosts, tmp_path, ranks=1)
    launch.until("after step 0", PATIENCE)
    hosts.cut()
    try:
        ended = ended_within(hosts, 10)
        texts = [file.read_text() for file in launch.files]
    finally:
        hosts.end()
        hosts.cut(cut=False)
    assert ended, texts
    assert "nothing has been heard of it for 5 s: killed, stopped or cut off" in texts[0]
    assert "rank 1 (process" in texts[0]
    assert "the ranks' store" in texts[1]


def test_a_rank_that_raises_is_told_whole_at_home_and_by_rank_0(hosts: Hosts, tmp_path: Path) -> None:
    job_file(tmp_path, ranks=2, plan={"data": 2}, **LONG)
    (tmp_path / "broken.py").write_text(BROKEN)
    words = ["broken.py", "train", "job.toml", "--out", "run", "--measurements", "measurements.json"]
    launch = hosts.launch(tmp_path, words, ranks=1, environment={"PLAIT_CACHE": str(tmp_path / "cache")})
    assert all(code != 0 for code in launch.wait(PATIENCE))
    for output in launch.outputs:
        assert "rank 1 failed first:" in output
        assert "ValueError: a wrong sum" in output
        assert "in broken" in output, "where it stood"


def test_a_host_whose_job_differs_is_refused_everywhere(hosts: Hosts, tmp_path: Path) -> None:
    job_file(tmp_path, ranks=2)
    other = tmp_path / "other"
    other.mkdir()
    (other / "job.toml").write_text((tmp_path / "job.toml").read_text().replace("0.01", "0.02"))
    script = 'cd "$([ $GROUP_RANK = 1 ] && echo other || echo .)" && exec "$@"'
    plait = ["--no-python", "sh", "-c", script, "sh", sys.executable, "-m", "plait", "train", "job.toml"]
    more = ["--out", str(tmp_path / "run"), "--measurements", str(tmp_path / "measurements.json")]
    launch = hosts.launch(tmp_path, [*plait, *more], ranks=1, environment={"PLAIT_CACHE": str(tmp_path / "cache")})
    assert all(code != 0 for code in launch.wait(PATIENCE))
    for output in launch.outputs:
        assert "differ in training.learning_rate" in output
        assert "exitcode  : 2" in output


def test_a_rank_that_never_comes_is_named(hosts: Hosts, tmp_path: Path) -> None:
    job_file(tmp_path)
    script = '[ $RANK = 1 ] && exec sleep 100; exec "$@"'
    plait = ["--no-python", "sh", "-c", script, "sh", sys.executable, "-m", "plait", "train", "job.toml"]
    launch = hosts.launch(tmp_path, plait, ranks=1, environment={"PLAIT_START_SECONDS": "3"})
    launch.until("rank 1 has not come within 3 s (PLAIT_START_SECONDS); there are rank 0 (process", PATIENCE)
    hosts.end()
    assert all(code != 0 for code in launch.wait(PATIENCE))


REFUSED = {
    "another world": ({}, {}, "the plan occupies 4 ranks, and torchrun has started 2"),
    "no such interface": ({"cluster": 2}, {"GLOO_SOCKET_IFNAME": "nosuch0"}, "no interface nosuch0; there are lo, pl"),
}


@pytest.mark.parametrize(("changes", "environment", "words"), REFUSED.values(), ids=REFUSED)
def test_what_can_t_be_is_refused_on_every_rank(
    hosts: Hosts, tmp_path: Path, changes: dict[str, int], environment: dict[str, str], words: str
) -> None:
    job_file(tmp_path, ranks=changes.get("cluster", 4))
    launch = train(hosts, tmp_path, ranks=1, **environment)
    assert all(code != 0 for code in launch.wait(PATIENCE))
    for output in launch.outputs:
        assert words in output
        assert "exitcode  : 2" in output
    assert not (tmp_path / "run").exists()

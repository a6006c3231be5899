"""`plait bench` under torchrun on two hosts: plans take turns on the processes that are there, and rank 0 speaks."""

from __future__ import annotations

import json
from pathlib import Path

from plait.training.run_directory import RunDirectory
from tests.contract.golden import assert_shape, golden
from tests.hosts.namespaces import Hosts
from tests.hosts.test_training import PATIENCE, job_file
from tests.hosts.test_verifying import document, said

SCRIPT = """
import sys
from plait.cli.main import main
from plait.training import rehearsal

plain = rehearsal.train_on_rank

def planted(assignment):
    if assignment.plan.pipeline > 1:
        raise ArithmeticError("planted")
    return plain(assignment)

if "--fail" in sys.argv:
    sys.argv.remove("--fail")
    rehearsal.train_on_rank = planted
sys.exit(main())
"""


def bench(hosts: Hosts, place: Path, *words: str):
    (place / "bench.py").write_text(SCRIPT)
    (place / "dp4.toml").write_text("[plan]\ndata = 4\n")
    (place / "pp2.toml").write_text("[plan]\ndata = 2\npipeline = 2\nmicrobatch = 1\n")
    command = [
        "bench.py",
        "bench",
        "job.toml",
        "--measurements",
        "measurements.json",
        "--repeats",
        "2",
        "--steps",
        "2",
        *words,
    ]
    return hosts.launch(place, command, environment={"PLAIT_CACHE": str(place / "cache")})


def test_plans_take_turns_over_two_hosts(hosts: Hosts, tmp_path: Path) -> None:
    hosts.throttle("200mbit")
    job_file(tmp_path, plan={})
    launch = bench(hosts, tmp_path, "--plan", "dp4.toml", "--plan", "pp2.toml", "--json")
    assert launch.wait(PATIENCE) == [0, 0], said(launch)
    found = document(launch.outputs[0])
    assert "{\n" not in launch.outputs[1], "only rank 0 speaks"
    assert_shape(found, golden("bench"))
    assert [(one["plan"]["pipeline"], one["repeats"]) for one in found["plans"]] == [(1, 2), (2, 2)]
    assert len(found["plans"][1]["measured"]["transfers"]) == 2
    # what a process grew by: a rank that has room left from the turn before may not grow at all
    sizes = [size for one in found["plans"] for size in one["measured"]["memory_bytes"]]
    assert all(size >= 0 for size in sizes)
    assert any(size > 0 for size in sizes)
    run = RunDirectory(tmp_path / "runs" / "bench-job")
    assert json.loads(run.bench.read_text()) == found
    assert run.report.exists()


def test_a_plan_that_fails_there_is_told_and_ends_the_bench(hosts: Hosts, tmp_path: Path) -> None:
    job_file(tmp_path, plan={})
    launch = bench(hosts, tmp_path, "--plan", "pp2.toml", "--plan", "dp4.toml", "--json", "--fail")
    codes = launch.wait(PATIENCE)
    found = document(launch.outputs[0])
    errors = {one["plan"]["pipeline"]: one["error"] for one in found["failed"]}
    assert errors[2].endswith("ArithmeticError: planted"), errors
    assert codes[0] == (0 if found["plans"] else 1)
    if not found["plans"]:
        assert "can't be started anew" in errors[1]

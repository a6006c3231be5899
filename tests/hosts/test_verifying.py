"""`plait verify` under torchrun on two hosts: one document, from rank 0, one code everywhere; a defect is found; what
fails ends all within seconds, named."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.namespaces import Hosts, Launch
from tests.hosts.test_training import PATIENCE, ended_within, job_file

TP2_DP2 = {"tensor": 2, "data": 2, "pipeline": 1}  # tensor ranks stand on one host
SCRIPT = """
import os, sys, time
from contextlib import ExitStack
from plait.cli.main import main
from plait.defects import plant
from plait.verification import reference, verify

_PLANTED

with ExitStack() as stack:
    for defect in _DEFECTS:
        stack.enter_context(plant(**defect))
    sys.exit(main())
"""


def verify(hosts: Hosts, place: Path, *words: str, planted: str = "", defects: Any = (), ranks: int = 2) -> Launch:
    """`plait verify job.toml` on both hosts, inside of `defects`, after the lines `planted`."""
    (place / "planted.py").write_text(SCRIPT.replace("_PLANTED", planted).replace("_DEFECTS", repr(defects)))
    command = ["planted.py", "verify", "job.toml", *words]
    return hosts.launch(place, command, ranks=ranks, environment={"PLAIT_CACHE": str(place / "cache")})


def document(output: str) -> Any:
    """The one document among what a host has said."""
    start = output.index("{\n")
    found, end = json.JSONDecoder().raw_decode(output[start:])
    assert "{\n" not in output[start + end :], output
    return found


def said(launch: Launch) -> str:
    return "\n".join(file.read_text() for file in launch.files)


@pytest.mark.parametrize(
    ("plan", "across"),
    [
        (TP2_DP2 | {"zero": 2}, ["data"]),
        ({"data": 2, "pipeline": 2, "tensor": 1, "microbatch": 1}, ["pipeline"]),
        ({"data": 4, "pipeline": 1, "tensor": 1, "compression": "int8"}, ["data"]),
        ({"data": 4, "pipeline": 1, "tensor": 1, "zero": 3, "microbatch": 1}, ["data"]),
    ],
    ids=["tp2 x dp2, ZeRO 2", "dp2 x pp2", "dp4, int8", "dp4, ZeRO 3"],
)
def test_a_plan_is_proven_over_two_hosts(hosts: Hosts, tmp_path: Path, plan: Any, across: list[str]) -> None:
    hosts.throttle("200mbit")
    job_file(tmp_path, plan=plan)
    launch = verify(hosts, tmp_path, "--json")
    assert launch.wait(PATIENCE) == [0, 0], said(launch)
    found = document(launch.outputs[0])
    assert found["verdict"] == ("LOSSY" if "compression" in plan else "REASSOCIATION")
    assert found["departures"] == []
    assert found["narrowed"].keys() & {"plan.data", "plan.tensor", "plan.pipeline"} == set()
    assert found["standing"] == {"hosts": [[0, 1], [2, 3]], "idle": [], "across": across}
    assert "{" not in launch.outputs[1], "only rank 0 speaks"


def test_a_planted_defect_is_a_bug_there_and_the_code_of_every_rank(hosts: Hosts, tmp_path: Path) -> None:
    job_file(tmp_path, plan=TP2_DP2)
    launch = verify(hosts, tmp_path, "--json", defects=[{"name": "input-gradient-partial", "axis": "tensor"}])
    assert all(code != 0 for code in launch.wait(PATIENCE)), launch.outputs
    found = document(launch.outputs[0])
    assert found["verdict"] == "BUG"
    assert found["culprit"]["axis"] == "tensor"
    for output in launch.outputs:
        assert output.count("exitcode  : 1") == 2, output


def test_a_rank_killed_while_rank_0_judges_is_named_and_ends_all(hosts: Hosts, tmp_path: Path) -> None:
    """Rank 0's program hears of nothing meanwhile; its main thread does."""
    job_file(tmp_path, plan=TP2_DP2)
    stuck = "verify._findings = lambda trial: (print('judging', flush=True), time.sleep(1000))"
    launch = verify(hosts, tmp_path, planted=stuck)
    launch.until("judging", PATIENCE)
    lost = hosts.ranks()[3]
    os.kill(lost, signal.SIGKILL)
    ended = ended_within(hosts, 10)
    assert all(code != 0 for code in launch.wait(PATIENCE))
    for output in launch.outputs:
        assert f"rank 3 (process {lost}" in output, output
    assert ended, launch.outputs


def test_what_a_rank_raises_is_told_everywhere(hosts: Hosts, tmp_path: Path) -> None:
    """A job that is larger than the world, of one rank a host, of which one raises."""
    job_file(tmp_path, ranks=4, plan={"data": 2, "tensor": 2, "pipeline": 1})
    broken = "reference.reference_trace = [reference.reference_trace, None][int(os.environ['RANK'])]"
    launch = verify(hosts, tmp_path, planted=broken, ranks=1)
    assert all(code != 0 for code in launch.wait(PATIENCE)), launch.outputs
    for output in launch.outputs:
        assert "rank 1 failed first:" in output
        assert "TypeError: 'NoneType' object is not callable" in output
        assert "exitcode  : 3" in output

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
AXES = {"plan.data", "plan.tensor", "plan.pipeline"}
PLANS = {  # and what is said of them
    "tp2 x dp2, ZeRO 2": (TP2_DP2 | {"zero": 2}, "REASSOCIATION"),
    "dp4, int8": ({"data": 4, "pipeline": 1, "tensor": 1, "compression": "int8"}, "LOSSY"),
    "dp4, ZeRO 3": ({"data": 4, "pipeline": 1, "tensor": 1, "zero": 3, "microbatch": 1}, "REASSOCIATION"),
}
PROGRAM = """
import json, os, sys
from pathlib import Path
from plait.api import load, verify_job
from plait.launchers import together
from plait.verification.report import document

with together():  # or each by itself
    told = {name: document(verify_job(load(f"{name}/job.toml"))) for name in sys.argv[1:]}
Path(f"told-{os.environ['RANK']}.json").write_text(json.dumps(told))
"""
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


def test_a_plan_is_proven_over_two_hosts(hosts: Hosts, tmp_path: Path) -> None:
    hosts.throttle("200mbit")
    job_file(tmp_path, plan={"data": 2, "pipeline": 2, "tensor": 1, "microbatch": 1})
    launch = verify(hosts, tmp_path, "--json")
    assert launch.wait(PATIENCE) == [0, 0], said(launch)
    found = document(launch.outputs[0])
    assert (found["verdict"], found["departures"]) == ("REASSOCIATION", [])
    assert found["narrowed"].keys() & AXES == set()
    assert found["standing"] == {"hosts": [[0, 1], [2, 3]], "idle": [], "across": ["pipeline"]}
    assert "{" not in launch.outputs[1], "only rank 0 speaks"


@pytest.fixture(scope="module")
def proven(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a program of one's own is told of each of `PLANS`, one after another on the same ranks."""
    place = tmp_path_factory.mktemp("proven")
    for name, (plan, _) in PLANS.items():
        (place / name).mkdir()
        job_file(place / name, plan=plan)
    (place / "proves.py").write_text(PROGRAM)
    hosts.throttle("200mbit")
    launch = hosts.launch(place, ["proves.py", *PLANS], environment={"PLAIT_CACHE": str(place / "cache")})
    assert launch.wait(2 * PATIENCE) == [0, 0], said(launch)
    first, *others = (json.loads((place / f"told-{rank}.json").read_text()) for rank in range(4))
    assert others == [first] * 3, "every process gets the same result"
    return first


@pytest.mark.parametrize("name", PLANS)
def test_so_are_several_in_a_program_of_one_s_own(proven: dict[str, Any], name: str) -> None:
    found = proven[name]
    assert (found["verdict"], found["departures"]) == (PLANS[name][1], [])
    assert found["narrowed"].keys() & AXES == set()
    assert found["standing"] == {"hosts": [[0, 1], [2, 3]], "idle": [], "across": ["data"]}


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

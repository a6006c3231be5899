"""torchrun's processes as ranks, on one host, where it needs no root: results, events, and one that raises."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from plait import api
from plait.cli.main import main
from plait.errors import IllegalJob, UnusableInput
from plait.launchers import ranks_for, together
from plait.launchers.torchrun import place
from plait.launchers.world import World
from tests.launchers.test_torchrun import ENVIRONMENT

ROOT = Path(__file__).parents[2]
SCRIPT = """
import contextlib, json, sys
import torch, torch.distributed as dist
from plait.launchers import carry, emit, ranks_for, together

def task(word):
    rank = dist.get_rank()
    for turn in range(3):
        emit({"turn": turn})
    if word == "fail" and rank == 1:
        raise ValueError("not today")
    total = torch.tensor([rank + 1.0])
    dist.all_reduce(total)
    return {"rank": rank, "total": total.item(), "text": "x" * (2 << 20)}

def within():
    return contextlib.redirect_stdout(sys.stderr)

events = []
with together() as world, carry(within), ranks_for(2) as ranks:
    found = ranks.run(task, sys.argv[1], on_event=lambda *event: events.append(event))
    assert world.rank == 0 or not (found or events)
    if world.rank == 0:
        lengths = [len(one.pop("text")) for one in found]
        print(json.dumps([found, lengths, events]), flush=True)
"""


def torchrun(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (place / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_rank_0_gets_results_and_events_in_order(tmp_path):
    done = torchrun(tmp_path, "script.py", "work")
    assert done.returncode == 0, done.stderr
    found, lengths, events = json.loads(done.stdout)
    assert found == [{"rank": 0, "total": 3.0}, {"rank": 1, "total": 3.0}]
    assert lengths == [2 << 20, 2 << 20]
    for rank in range(2):
        assert [event["turn"] for sender, event in events if sender == rank] == [0, 1, 2]


def test_one_that_raises_ends_all_and_is_named(tmp_path):
    done = torchrun(tmp_path, "script.py", "fail")
    assert done.returncode != 0
    assert done.stderr.count("RankFailure: rank 1 failed first:") == 2, done.stderr
    assert "ValueError: not today" in done.stderr
    assert done.stderr.count("exitcode  : 3") == 2, "both end at once, whatever hangs in their collectives"


STOPPED_AT_THE_END = """
import os, signal
from plait.launchers import ranks_for, together

def task():
    return 7

with together() as world:
    with ranks_for(2) as ranks:
        ranks.run(task)
    if world.rank == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_one_that_is_stopped_while_all_leave_is_named_and_ended(tmp_path):
    (tmp_path / "end.py").write_text(STOPPED_AT_THE_END)
    done = torchrun(tmp_path, "end.py")
    assert done.returncode != 0
    assert re.search(r"RankFailure: rank 1.*nothing has been heard of it for 5 s", done.stderr, re.DOTALL), done.stderr


def test_one_that_ends_as_soon_as_it_has_left_is_not_missed(tmp_path):
    """Its process is seen gone before its farewell is read: rank 0 reads once a second."""
    begun = STOPPED_AT_THE_END.partition("    if world.rank")[0]
    slow = 'if os.environ["RANK"] == "0":\n    pulse._ROUND_SECONDS = 1.0\n'
    begun = begun.replace("def task", f"from plait.launchers import pulse\n{slow}\ndef task")
    (tmp_path / "end.py").write_text(f"{begun}os._exit(0)\n")
    done = torchrun(tmp_path, "end.py")
    assert done.returncode == 0, done.stderr


def test_a_start_that_is_no_time_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PLAIT_START_SECONDS", "soon")
    done = torchrun(tmp_path, "script.py", "work")
    assert "UnusableInput: PLAIT_START_SECONDS is soon, and has to be seconds above 0" in done.stderr, done.stderr


def test_an_interface_that_is_not_there_is_refused_without_torchrun_too(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "nosuch0")
    with pytest.raises(UnusableInput, match="no interface nosuch0"), together():
        pass


def test_without_torchrun_there_is_a_pool(monkeypatch):
    monkeypatch.setattr("plait.launchers.hosts.RankPool", lambda ranks, **_: ("pool", ranks))
    with together() as world:
        assert world is None
        assert ranks_for(3) == ("pool", 3)


def test_another_number_of_ranks_is_refused(monkeypatch):
    world = object.__new__(World)
    world.size = 2
    monkeypatch.setattr("plait.launchers.hosts._world", world)
    with pytest.raises(IllegalJob, match="the plan occupies 4 ranks, and torchrun has started 2"):
        ranks_for(4)


def test_ranks_that_a_job_leaves_open_are_torchrun_s(tmp_path, monkeypatch):
    (tmp_path / "job.toml").write_text("[model]\nlayers = 2\nhidden = 16\nheads = 2\nvocab = 256\n")
    for name, value in (ENVIRONMENT | {"WORLD_SIZE": "6"}).items():
        monkeypatch.setenv(name, value)
    assert place() is not None
    assert api.load(tmp_path / "job.toml").cluster.ranks == 6


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_command_for_one_process_is_refused_and_rank_0_says_so(monkeypatch, capsys, rank):
    for name, value in (ENVIRONMENT | {"RANK": rank}).items():
        monkeypatch.setenv(name, value)
    assert main(["plan", "job.toml"]) == 2
    assert ("plait plan is for one process: call it without torchrun" in capsys.readouterr().err) == (rank == "0")

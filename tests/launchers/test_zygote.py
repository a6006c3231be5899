"""The zygote as a process: one thread, forks that end with it, and words for what it can't import."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from plait.errors import RankFailure
from plait.launchers import RankPool, RankPools, Zygote, starters
from plait.launchers.messages import Channel, Result, Task, decode, encode

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere ranks are fresh processes")
pytestmark = linux


def test_it_has_one_thread_so_that_its_children_can_compute(rank_pools: RankPools) -> None:
    rank_pools.pool(2)
    assert isinstance(rank_pools.starter, Zygote)
    assert len(os.listdir(f"/proc/{rank_pools.starter.pid}/task")) == 1


def test_a_rank_speaks_to_its_parent_and_not_to_the_zygote(rank_pools: RankPools) -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    with theirs:
        pid = rank_pools.starter.start(theirs)
    channel = Channel(ours)
    channel.send(encode(Task(call=_PID_CALL, path=tuple(sys.path), directory=os.getcwd(), main=None)))
    assert [decode(frame) for frame in channel.receive()] == [Result(value=pid)]
    assert rank_pools.starter.exit_code(pid) is None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(EOFError):
        channel.receive()
    while (code := rank_pools.starter.exit_code(pid)) is None:
        pass
    assert code == -signal.SIGKILL
    assert rank_pools.starter.exit_code(pid) == code, "it is remembered after the process is reaped"
    channel.close()


_PID_CALL = b"cos\ngetpid\n" + b")\x86."  # the pickle of (os.getpid, ())


def test_it_outlives_the_thread_that_started_it() -> None:
    """The kernel's parent-death signal comes when a *thread* ends: a zygote started off the main one goes without."""
    started: list[Zygote] = []
    thread = threading.Thread(target=lambda: started.append(Zygote(modules=())))
    thread.start()
    thread.join()
    with RankPool(1, starter=started[0]) as pool:
        assert pool.run(os.getpid) == pool.pids
    started[0].close()


def test_what_it_can_t_import_is_the_report_of_the_first_rank() -> None:
    zygote = Zygote(modules=("no_such_module",))
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(ChildProcessError, match="No module named 'no_such_module'"):
        zygote.start(theirs)
    zygote.close()
    assert not zygote.alive


def test_closing_it_before_it_is_ready_is_quiet(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    zygote = Zygote(modules=())
    zygote.close()
    assert not zygote.alive
    assert capfd.readouterr() == ("", "")


def test_a_late_answer_is_never_taken_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    zygote = Zygote(modules=())
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = zygote.start(theirs)
        monkeypatch.setattr(starters, "_END_SECONDS", 0.05)
        os.kill(zygote.pid, signal.SIGSTOP)
        with pytest.raises(ChildProcessError, match="does not answer"):
            zygote.exit_code(pid)
        assert not zygote.alive
        with pytest.raises(ChildProcessError, match="is given up"):
            zygote.start(theirs)
    monkeypatch.undo()
    zygote.close()


def test_a_zygote_that_stands_still_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starters, "_END_SECONDS", 0.5)
    with RankPool(2) as pool:
        starter = pool._starter
        assert isinstance(starter, Zygote)
        os.kill(starter.pid, signal.SIGSTOP)
        os.kill(pool.pids[1], signal.SIGKILL)
        began = time.monotonic()
        with pytest.raises(RankFailure, match="rank 1 failed first"):
            pool.run(os.getpid)
        assert time.monotonic() - began < 10
    assert not starter.alive

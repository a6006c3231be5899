"""What is told of a process: that it stands still, that a debugger holds it, that it is another one by now."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from plait.launchers import processes
from plait.launchers.processes import process_began, process_state, stopped_processes

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
TRACED = "import ctypes, os, signal; ctypes.CDLL(None).ptrace(0, 0, 0, 0); os.kill(os.getpid(), signal.SIGSTOP)"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def soon(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10.0
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.01)
    return found


@pytest.mark.parametrize(
    "ask",
    [
        stopped_processes,
        pytest.param(processes._stopped_by_ps, marks=pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")),
    ],
)
def test_a_process_is_stopped_until_it_is_let_go_on(child: subprocess.Popen[bytes], ask) -> None:
    assert ask([child.pid, os.getpid()]) == set()
    child.send_signal(signal.SIGSTOP)
    assert soon(lambda: ask([child.pid, os.getpid()]) == {child.pid})
    child.send_signal(signal.SIGCONT)
    assert soon(lambda: ask([child.pid, os.getpid()]) == set())


@LINUX
def test_a_process_that_a_debugger_holds_is_not_taken_for_stopped() -> None:
    with subprocess.Popen([sys.executable, "-c", TRACED]) as traced:
        began = process_began(traced.pid)
        assert began is not None
        assert soon(lambda: process_state(traced.pid, began) == "t")
        assert stopped_processes([traced.pid]) == set()
        traced.kill()


@LINUX
def test_a_process_that_has_ended_has_no_state_nor_has_a_later_one_of_its_number(child) -> None:
    began = process_began(child.pid)
    assert began is not None
    assert soon(lambda: process_state(child.pid, began) == "S")
    assert process_state(child.pid, began + 1) is None
    child.kill()
    assert soon(lambda: process_state(child.pid, began) is None)  # not reaped yet
    child.wait()
    assert process_began(child.pid) is None
    assert stopped_processes([child.pid]) == set()

"""Ranks of one host as processes: an end is seen at once, and a stopped one can be ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from plait.launchers.siblings import Siblings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="descriptors of processes are Linux's")


def started() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def seen(siblings: Siblings) -> set[int]:
    end = time.monotonic() + 10
    while not siblings.gone() and time.monotonic() < end:
        time.sleep(0.01)
    return siblings.gone()


def test_an_end_is_seen_and_a_stopped_one_is_ended():
    with started() as first, started() as second:
        try:
            siblings = Siblings()
            siblings.know(1, first.pid)
            siblings.know(2, second.pid)
            assert siblings.gone() == set()
            first.kill()
            assert seen(siblings) == {1}
            os.kill(second.pid, signal.SIGSTOP)
            siblings.end(2)
            assert second.wait(10) == -signal.SIGKILL
            assert siblings.gone() == {1, 2}
            siblings.end(2)
        finally:
            first.kill()
            second.kill()


def test_one_that_nobody_knows_is_let_be():
    siblings = Siblings()
    siblings.know(1, 2**22 + 1)  # beyond the largest process id
    siblings.end(1)
    assert siblings.gone() == set()

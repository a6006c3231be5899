"""Pools in scripts of their own: nothing outlives a killed parent, nothing stays on disk, `__main__` can be sent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import threading, sys
from dataclasses import dataclass
from plait.launchers import RankPool, Zygote, emit

@dataclass
class Answer:
    value: int

def answer(value):
    return Answer(value)

def hang():
    emit({})
    threading.Event().wait()

def main():
    starter = Zygote(modules=())
    with RankPool(2, starter=starter) as pool:
        if sys.argv[1] == "hang":
            pool.run(hang, on_event=lambda rank, event: print("working", flush=True))
        print(pool.run(answer, 42) == [Answer(42)] * 2)
    starter.close()

if __name__ == "__main__":
    main()
"""


def _start(tmp_path: Path, mode: str) -> tuple[subprocess.Popen[str], Path]:
    script, temporary = tmp_path / "script.py", tmp_path / "temporary"
    script.write_text(SCRIPT)
    temporary.mkdir()
    environment = os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, str(script), mode],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
    )
    return process, temporary


def test_nothing_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    process, temporary = _start(tmp_path, "hang")
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.send_signal(signal.SIGKILL)
    # The zygote and the ranks hold the pipe too: that it ends means that all of them have.
    rest, _ = process.communicate(timeout=10)
    assert rest in ("", "working\n")
    assert list(temporary.iterdir()) == []


def test_ctrl_c_ends_the_ranks_with_one_traceback(tmp_path: Path) -> None:
    process, temporary = _start(tmp_path, "hang")
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=10)
    assert rest.count("Traceback") == 1
    assert rest.rstrip().endswith("KeyboardInterrupt")
    assert list(temporary.iterdir()) == []


def test_what_a_script_defines_can_be_sent_and_comes_back(tmp_path: Path) -> None:
    process, temporary = _start(tmp_path, "answer")
    output, _ = process.communicate(timeout=60)
    assert output == "True\n"
    assert process.returncode == 0
    assert list(temporary.iterdir()) == []

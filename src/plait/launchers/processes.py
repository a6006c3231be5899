"""What the system says of other processes: when one began, whether it has ended, and whether it stands still.

    T, stopped    by SIGSTOP or a terminal's Ctrl-Z: it does nothing until somebody lets it go on
    t, traced     a debugger holds it: whoever does that knows, and lets it go on

Linux tells in /proc; elsewhere `ps` does, where there is one. It knows numbers of processes, and no rank.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

__all__ = ["process_began", "process_state", "stopped_processes"]

_PS_SECONDS = 1.0


def process_began(process: int) -> int | None:
    """When a process began, in the kernel's ticks; None if it has ended. Linux alone tells."""
    fields = _fields(process)
    return None if fields is None else int(fields[19])


def process_state(process: int, began: int) -> str | None:
    """One letter for what a process does that began then (man 5 proc); None if it has ended. Linux alone tells."""
    fields = _fields(process)
    return None if fields is None or fields[0] in "ZX" or int(fields[19]) != began else fields[0]


def stopped_processes(processes: Collection[int]) -> set[int]:
    """Those of some processes that are stopped now; none where nobody tells."""
    if sys.platform == "linux":
        return {one for one in processes if (fields := _fields(one)) is not None and fields[0] == "T"}
    return _stopped_by_ps(processes)


def _stopped_by_ps(processes: Collection[int]) -> set[int]:
    command = ["ps", "-o", "pid=", "-o", "stat=", "-p", ",".join(map(str, processes))]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=_PS_SECONDS, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):  # nobody tells
        return set()
    return {int(number) for number, state in map(str.split, told.splitlines()) if state.startswith("T")}


def _fields(process: int) -> list[str] | None:
    """Of /proc/<process>/stat, from the state on."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None

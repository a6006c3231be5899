"""The two ways of starting a rank's process, seen from the parent: forked by a zygote, or fresh.

    Zygote           milliseconds a rank          Linux on CPU
    FreshProcesses   an import of torch a rank    macOS, where fork is not safe; accelerators, which can't be forked

A starter answers one question afterwards: has this process ended, and how? Pids can't be reused in between, since an
ended process is kept (as a zombie) until its starter is asked. This module must not know what ranks do.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

__all__ = ["TRAINING_MODULES", "FreshProcesses", "Starter", "Zygote", "default_starter"]

# The first step of any torch optimizer imports this: more than a second, here once instead of once a rank.
TRAINING_MODULES = ("torch._dynamo",)

_IMPORT_SECONDS = 120.0  # an import of torch from a cold disk on a crowded machine takes tens
_END_SECONDS = 5.0


class Starter(Protocol):
    """Starts rank processes, and knows how they ended."""

    @property
    def alive(self) -> bool:
        """Whether it can still start ranks."""
        ...

    def start(self, rank_end: socket.socket) -> int:
        """Start a rank that listens on `rank_end`; return its pid. Raises ChildProcessError when it can't."""
        ...

    def exit_code(self, pid: int) -> int | None:
        """How it ended (minus the signal that killed it), None while it lives. ChildProcessError: nobody knows."""
        ...

    def close(self) -> None:
        """End what this starter still holds."""
        ...


class Zygote:
    """The parent's end of a zygote process; several pools may share one. It starts at once, and is awaited when used.

    `modules` are imported before the first fork, so that no rank has to import them.
    """

    def __init__(self, modules: Sequence[str] = TRAINING_MODULES) -> None:
        self._lock = threading.Lock()  # one question at a time
        self._greeted = False
        self._exit_codes: dict[int, int] = {}  # of ranks that are reaped: the system may give their pids away again
        self._control, zygote_end = socket.socketpair()
        self._control.settimeout(_IMPORT_SECONDS)
        with zygote_end:
            self._process = _start_python("zygote", zygote_end, modules, threads=1)

    @property
    def alive(self) -> bool:
        """Whether the zygote is there to be asked, and has answered so far."""
        return self._control.fileno() >= 0 and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The zygote's own pid."""
        return self._process.pid

    def start(self, rank_end: socket.socket) -> int:
        """Fork a rank, in about a millisecond once torch is imported."""
        pid = int(self._ask("fork", rank_end))
        self._exit_codes.pop(pid, None)
        return pid

    def exit_code(self, pid: int) -> int | None:
        """How the rank ended, None while it lives."""
        if pid not in self._exit_codes:
            reply = self._ask(f"exit {pid}")
            if reply == "alive":
                return None
            self._exit_codes[pid] = int(reply)
        return self._exit_codes[pid]

    def _ask(self, request: str, *sockets: socket.socket) -> str:
        with self._lock:
            if self._control.fileno() < 0:
                raise ChildProcessError(f"the zygote (process {self.pid}) is given up")
            try:
                if not self._greeted:
                    greeting = self._control.recv(1 << 16).decode()
                    if greeting != "ready":
                        raise ChildProcessError(
                            f"the zygote could not start\n\n{greeting or 'it ended without a word'}"
                        )
                    self._greeted = True
                self._control.settimeout(_IMPORT_SECONDS if sockets else _END_SECONDS)
                socket.send_fds(self._control, [request.encode()], [each.fileno() for each in sockets])
                reply = self._control.recv(64).decode()
            except (TimeoutError, ConnectionError) as error:
                self._process.kill()  # stopped, it may hold up others
                self._control.close()  # late, its answer would be taken for that to the next question
                raise ChildProcessError(f"the zygote (process {self.pid}) does not answer: {error}") from error
        if not reply:
            raise ChildProcessError(f"the zygote (process {self.pid}) is gone")
        return reply

    def close(self) -> None:
        """End the zygote, and with it every rank that it forked."""
        self._control.close()
        if not self._greeted:
            self._process.kill()  # it may be importing still, and has no ranks
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:  # stopped
            self._process.kill()
            self._process.wait(_END_SECONDS)


class FreshProcesses:
    """Every rank a new Python that imports torch for itself; `threads` is its OMP_NUM_THREADS."""

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def alive(self) -> bool:
        """Always: it starts each rank anew."""
        return True

    def start(self, rank_end: socket.socket) -> int:
        """Start a Python that becomes a rank."""
        process = _start_python("rank", rank_end, (), threads=self._threads)
        self._processes[process.pid] = process
        return process.pid

    def exit_code(self, pid: int) -> int | None:
        """How the rank ended, None while it lives."""
        return self._processes[pid].poll()

    def close(self) -> None:
        """Kill every rank that still lives."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait(_END_SECONDS)


def default_starter(
    backend: str = "gloo", threads: int = 1, modules: Sequence[str] = TRAINING_MODULES
) -> Zygote | FreshProcesses:
    """A zygote with `modules` where forking is safe, fresh processes elsewhere."""
    if sys.platform == "linux" and backend == "gloo":
        return Zygote(modules)
    return FreshProcesses(threads)


def _start_python(role: str, end: socket.socket, modules: Sequence[str], *, threads: int) -> subprocess.Popen[bytes]:
    """Run zygote.py as `role`, with `end` inherited and the thread counts set before anything can read them."""
    # The kernel's parent-death signal follows the *thread* that started a child: from any but the main one,
    # whose end is the process's end, the end of file on the socket has to do.
    dies_with = os.getpid() if threading.current_thread() is threading.main_thread() else 0
    source = str(Path(__file__).parents[2])
    inherited = os.environ.get("PYTHONPATH")
    environment = os.environ | {
        "PYTHONPATH": f"{source}{os.pathsep}{inherited}" if inherited else source,
        **{f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")},
    }
    command = [sys.executable, "-P", "-m", "plait.launchers.zygote", role, str(end.fileno()), str(dies_with), *modules]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[end.fileno()], env=environment)

"""The zygote: a process that imports torch, computes nothing, and forks ranks on request.

    python -P -m plait.launchers.zygote  zygote|rank  FD  PARENT  [MODULE ...]

A forked child hangs if its parent ever ran a kernel on two threads; this parent has one thread and runs no kernel.
Its ranks are there in milliseconds and share its memory until they write. The same module started as `rank` becomes a
rank itself: where forking is not safe (macOS, an accelerator).

    request                        reply
    (greeting)                     ready, or why not
    fork, with a socket            the rank's pid
    exit PID                       its exit code as subprocess has it (minus the signal), or: alive

Nobody outlives a parent: not the zygote (end of file on FD; on Linux also the kernel's parent-death signal), nor the
ranks. This module knows processes; it must not know what a rank does.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from plait.launchers.messages import Channel
from plait.launchers.rank import live

__all__ = ["main", "serve"]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: Sequence[str]) -> None:
    """Become the zygote, or a rank. PARENT is the pid to die with, 0 to die by end of file only."""
    role, descriptor, parent, *modules = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it ends us
    if int(parent):
        _die_with(int(parent))
    connection = socket.socket(fileno=int(descriptor))
    if role == "rank":
        live(Channel(connection))
    with contextlib.suppress(ConnectionError):  # the parent is gone: nobody is left to answer
        serve(connection, modules)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, also when the parent is killed (Linux)."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel knew
        os._exit(0)


def serve(control: socket.socket, modules: Sequence[str]) -> None:
    """Import torch and `modules`, then answer requests until the parent closes its end; kill what is left by then."""
    try:
        _prepare(modules)
    except Exception:
        control.sendall(traceback.format_exc().encode())
        return
    control.sendall(b"ready")
    children: set[int] = set()
    try:
        _answer_requests(control, children)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _answer_requests(control: socket.socket, children: set[int]) -> None:
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, 4096, 1)
        match request.split():
            case [b"fork"]:
                pid = _fork(control, descriptors[0])
                children.add(pid)
                control.sendall(b"%d" % pid)
            case [b"exit", pid]:
                control.sendall(_exit_code(int(pid), children))
            case _:  # end of file
                return


def _prepare(modules: Sequence[str]) -> None:
    import torch
    import torch.distributed

    torch.set_num_threads(1)
    for name in modules:
        importlib.import_module(name)
    gc.freeze()  # the collector would write into, and so copy, every page that the ranks share


def _fork(control: socket.socket, descriptor: int) -> int:
    zygote = os.getpid()
    pid = os.fork()
    if pid == 0:
        _be_a_rank(control, descriptor, zygote)
    os.close(descriptor)
    return pid


def _be_a_rank(control: socket.socket, descriptor: int, zygote: int) -> NoReturn:
    try:
        control.close()
        _die_with(zygote)
        live(Channel(socket.socket(fileno=descriptor)))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)  # never back into the zygote's loop


def _exit_code(pid: int, children: set[int]) -> bytes:
    ended, status = os.waitpid(pid, os.WNOHANG)
    if not ended:
        return b"alive"
    children.discard(pid)
    return b"%d" % os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Ranks on this machine: a pool of processes that stay alive from task to task.

    with RankPool(4) as pool:
        losses = pool.run(train_a_little, job)        # [rank 0's result, ..., rank 3's]

Knows how a pool begins (ranks start, meet at a store on 127.0.0.1 whose port the listener chose, and join
torch.distributed) and how it ends: with the block, with the parent, or all together with the first rank that fails.
No files are used, so none stay behind. It must not know what the ranks compute.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from plait.errors import RankFailure, UnusableInput
from plait.launchers import rank as rank_side
from plait.launchers.carried import carried, within
from plait.launchers.failure import death_report, first_cause, silence_report
from plait.launchers.gathering import Gathering, OnEvent
from plait.launchers.messages import Channel, Task, encode
from plait.launchers.processes import stopped_processes
from plait.launchers.starters import Starter, default_starter

__all__ = ["RankPool"]

_START_SECONDS = 120.0  # fresh ranks import torch before they can join, all at once
_END_SECONDS = 5.0
# Collectives give up a little after the pool does: a hang is then told with every rank's place, not as the timeout
# of a rank that only waited.
_COLLECTIVE_PATIENCE = 1.25

T = TypeVar("T")


class RankPool:
    """`ranks` processes joined by torch.distributed, each with `threads` threads. Not for several threads at once.

    `timeout`: seconds without a word from any rank after which the pool counts as hung; a collective waits a quarter
    longer, then raises by itself. A rank that was stopped for 5 s counts as failed before that.
    `starter`: how processes begin; left out, a zygote of the pool's own, or fresh ones on macOS and for any backend
    but gloo. A starter that is passed in may serve several pools, and is not closed with them.
    Raises RankFailure if a rank can't start.
    """

    def __init__(
        self,
        ranks: int,
        *,
        threads: int = 1,
        backend: str = "gloo",
        timeout: float = 60.0,
        starter: Starter | None = None,
    ) -> None:
        if ranks < 1:
            raise ValueError(f"a pool of {ranks} ranks: it needs at least one")
        if rank_side.inside_a_rank():
            raise RuntimeError("a rank can't start ranks; guard your script's top level by __name__ == '__main__'")
        self.ranks = ranks
        self._timeout = timeout
        self._starter = starter or default_starter(backend, threads)
        self._owns_starter = starter is None
        self._channels: dict[int, Channel] = {}
        self._pids: dict[int, int] = {}
        self._alive = True
        try:
            self._begin(threads, backend)
        except BaseException:
            self._end()
            raise

    @property
    def alive(self) -> bool:
        """Whether the pool takes tasks: until it is closed, or a rank has failed."""
        return self._alive

    @property
    def pids(self) -> list[int]:
        """The ranks' process ids, by rank."""
        return [self._pids[rank] for rank in range(self.ranks)]

    def run(
        self,
        function: Callable[..., T],
        *args: object,
        on_event: OnEvent | None = None,
        timeout: float | None = None,
    ) -> list[T]:
        """Call `function(*args)` on every rank; return the results by rank.

        `function` is defined at the top level of a module, args and results can be pickled. While it works a rank may
        `emit` events: `on_event(rank, event)` is called here, in each rank's order. A task may last as long as it
        likes, but when no rank has answered or emitted anything for `timeout` seconds (the pool's own if None) it is
        taken for hung.
        Raises TypeError if the call can't be sent, and the pool is unharmed; RankFailure if a rank raised, died or
        fell silent, but UnusableInput, with its own message, where that is what the first to fail raised (a full
        disk). Every rank has ended by then, as it has if on_event raised or the user pressed Ctrl-C.
        It is called inside of all that is carried along (`carry`).
        """
        contexts = carried()
        task = _task(within, (contexts, function, *args)) if contexts else _task(function, args)
        patience = self._timeout if timeout is None else timeout
        results = self._perform(dict.fromkeys(range(self.ranks), task), patience, on_event)
        return [results[rank] for rank in range(self.ranks)]

    def count_groups(self) -> list[int]:
        """How many process groups each rank holds. Raises as `run` does."""
        return self._ask(rank_side.count_groups, self._timeout)

    def close(self) -> None:
        """End the ranks; afterwards the pool is dead. Closing twice is fine."""
        if self._alive:
            # A rank that fails to leave in order ends all the same, and its task was done.
            with contextlib.suppress(RankFailure):
                self._ask(rank_side.leave, _END_SECONDS)
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, threads: int, backend: str) -> None:
        for rank in range(self.ranks):
            ours, theirs = socket.socketpair()
            ours.settimeout(self._timeout)
            self._channels[rank] = Channel(ours)
            with theirs:
                try:
                    self._pids[rank] = self._starter.start(theirs)
                except ChildProcessError as error:
                    raise RankFailure(rank, str(error)) from error
        patience = max(self._timeout, _START_SECONDS)
        port = self._perform({0: _task(rank_side.host_store, (self.ranks, patience))}, patience)[0]
        limit = self._timeout * _COLLECTIVE_PATIENCE
        joins = {
            rank: _task(rank_side.join, (rank, self.ranks, port, threads, backend, limit)) for rank in range(self.ranks)
        }
        self._perform(joins, patience)

    def _ask(self, function: Callable[[], T], timeout: float) -> list[T]:
        """A question of the pool's own to every rank, inside of nothing that is carried along."""
        answers = self._perform(dict.fromkeys(range(self.ranks), _task(function, ())), timeout)
        return [answers[rank] for rank in range(self.ranks)]

    def _perform(self, tasks: Mapping[int, bytes], timeout: float, on_event: OnEvent | None = None) -> dict[int, Any]:
        if not self._alive:
            raise RuntimeError("this pool is dead: it was closed, or a rank has failed")
        try:
            gathering = Gathering({rank: self._channels[rank] for rank in tasks}, on_event, self._stopped)
            for rank, task in tasks.items():
                # A rank that can't be told is dead or stopped: the gathering sees its end, or its silence.
                with contextlib.suppress(OSError):
                    self._channels[rank].send(task)
            gathering.wait(timeout)
            self._judge(gathering, timeout)
        except BaseException:
            self._end()
            raise
        return gathering.results

    def _stopped(self) -> set[int]:
        found = stopped_processes(self._pids.values())
        return {rank for rank, pid in self._pids.items() if pid in found}

    def _judge(self, gathering: Gathering, timeout: float) -> None:
        if gathering.silent:  # before any failure: what fails while we ask where is late
            raise RankFailure(min(gathering.silent), silence_report(gathering.silent, timeout))
        if gathering.failures:
            cause = first_cause(gathering.failures)
            if cause.unusable is not None:  # nobody's rank failed: it is said as if the parent had met it
                raise UnusableInput(cause.unusable)
            raise RankFailure(cause.rank, cause.report or self._death_of(cause.rank))

    def _death_of(self, rank: int) -> str:
        return death_report(self._exit_code(rank, time.monotonic() + _END_SECONDS))

    def _exit_code(self, rank: int, deadline: float) -> int | None:
        """How a rank ended whose channel has closed, given the kernel's time to finish with it: until `deadline`."""
        while True:
            try:
                code = self._starter.exit_code(self._pids[rank])
            except ChildProcessError:  # the starter is gone too, and has taken its children along
                return None
            if code is not None or time.monotonic() >= deadline:
                return code
            time.sleep(0.005)

    def _end(self) -> None:
        """End every rank, whatever it is doing: it reads its end of file, and is killed in case it can't."""
        self._alive = False
        for channel in self._channels.values():
            channel.close()
        for pid in self._pids.values():
            # ChildProcessError: the starter is gone. Its ranks read their end of file all the same.
            with contextlib.suppress(ChildProcessError):
                if self._starter.exit_code(pid) is None:
                    os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _END_SECONDS  # one for all of them
        for rank in self._pids:
            self._exit_code(rank, deadline)
        self._pids.clear()
        if self._owns_starter:
            self._starter.close()


def _task(function: Callable[..., object], args: tuple[object, ...]) -> bytes:
    try:
        call = pickle.dumps((function, args), protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        name = getattr(function, "__qualname__", repr(function))
        rule = "it must be defined at the top level of a module, and its arguments must be picklable"
        raise TypeError(f"{name} can't be sent to the ranks: {rule}; {error}") from error
    return encode(Task(call=call, path=tuple(sys.path), directory=os.getcwd(), main=_main_module()))


def _main_module() -> str | None:
    """What the ranks import to find what is defined in the parent's script; None at a prompt."""
    main = sys.modules["__main__"]
    sys.modules.setdefault("__mp_main__", main)  # what the ranks call it, in results that come back
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return spec.name
    file = getattr(main, "__file__", None)
    return os.path.abspath(file) if file else None

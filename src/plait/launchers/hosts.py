"""Ranks on several hosts: the processes that torchrun has started are the ranks of a run, this one among them.

    main thread     hears the others, raises what becomes of them; on rank 0: takes events and results
    rank's thread   joins torch.distributed, performs the function     (nobody waits for it, should it hang)

`ranks_for` is where a run's ranks are chosen: these, or a pool's on this machine. Every process calls what it calls on
all others, with its own arguments; only rank 0 gets results. What ranks say travels as JSON.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from plait.errors import IllegalJob, RankFailure, UnusableInput
from plait.launchers.carried import carried, within
from plait.launchers.gathering import OnEvent
from plait.launchers.interfaces import require_interface
from plait.launchers.local import RankPool
from plait.launchers.rank import emit_to, settle
from plait.launchers.starters import Starter
from plait.launchers.torchrun import place
from plait.launchers.world import World

__all__ = ["HostRanks", "end_where_python_would_wait", "join_world", "ranks_for", "together"]

_END_SECONDS = 3600.0  # rank 0 writes, samples and draws, while it is watched

_world: World | None = None
_hanging = False


@contextmanager
def together() -> Iterator[World | None]:
    """Within, the processes that torchrun has started know of each other, and none goes on alone: what one raises ends
    all, in words. Without torchrun nothing happens. May be nested; raises as `World` does, and UnusableInput for a
    network interface that does not exist."""
    global _world, _hanging
    where = place()
    if where is None or _world is not None:
        require_interface()
        yield _world
        return
    with _ended_at_once_after_failure():
        _world = world = World(where)
        try:
            yield world
            _part(world)
            _hanging = world.hanging
        except BaseException as error:
            world.leave(error)
            raise
        finally:
            _world = None


def _part(world: World) -> None:
    """All end well, or none: the others wait for rank 0's last word."""
    if world.rank == 0:
        world.say("done")
    world.hear("done", 0, _END_SECONDS)
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_initialized() and not world.hanging:
        distributed.destroy_process_group()
    world.leave()
    world.require_whole()


@contextmanager
def _ended_at_once_after_failure() -> Iterator[None]:
    """A Python that ends waits for gloo's threads, and those for the ranks that were lost: after a failure, it ends
    without."""
    try:
        yield
    except BaseException as error:
        atexit.register(_end_at_once, 2 if isinstance(error, UnusableInput | IllegalJob) else 3)
        raise


def end_where_python_would_wait(code: int) -> None:
    """End this process by `code` where a rank of it hangs in a collective; elsewhere return."""
    if _hanging:
        _end_at_once(code)


def _end_at_once(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def ranks_for(
    ranks: int, *, backend: str = "gloo", timeout: float = 60.0, starter: Starter | None = None
) -> RankPool | HostRanks:
    """What performs a run of `ranks` ranks: torchrun's processes, `together`; without torchrun a pool on this machine.

    Raises as `RankPool` does, or IllegalJob where torchrun has started another number.
    """
    if _world is None:
        return RankPool(ranks, backend=backend, timeout=timeout, starter=starter)
    _world.require(ranks)
    return HostRanks(_world, backend=backend, timeout=timeout)


class HostRanks:
    """The ranks of a world, each a process that is already there; this one performs its own part. `timeout` as a
    pool's. Takes one task."""

    def __init__(self, world: World, *, backend: str, timeout: float) -> None:
        self._world, self._backend, self._timeout = world, backend, timeout
        self._error: BaseException | None = None
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left to end: the processes are torchrun's."""

    def run(self, function: Callable[..., Any], *args: object, on_event: OnEvent | None = None) -> list[Any]:
        """Call `function(*args)` here; on rank 0, return the results of all by rank, on the others nothing.

        What it returns and emits is what JSON carries; `on_event(rank, event)` is called on rank 0, in each rank's
        order. Raises as `RankPool.run` does, on every rank.
        """
        contexts = carried()
        task = (within, (contexts, function, *args)) if contexts else (function, args)
        threading.Thread(target=self._perform, args=task, name="rank", daemon=True).start()
        results = self._gathered(on_event) if self._world.rank == 0 else []
        while not self._ended.is_set():
            self._attend()
        if self._error is not None:
            raise self._world.failed(self._error)
        return results

    def _gathered(self, on_event: OnEvent | None) -> list[Any]:
        found: dict[int, Any] = {}
        heard = time.monotonic()
        while len(found) < self._world.size:
            self._attend()
            while self._world.news:
                message, heard = self._world.news.popleft(), time.monotonic()
                if message.kind == "result":
                    found[message.sender] = message.body
                elif on_event is not None:
                    on_event(message.sender, json.loads(message.body))
            if time.monotonic() > heard + self._timeout:
                raise self._hung([rank for rank in range(self._world.size) if rank not in found])
        return [found[rank] for rank in range(self._world.size)]

    def _attend(self) -> None:
        """Hear the others, and this process's own rank."""
        if self._error is not None:
            raise self._world.failed(self._error)
        self._world.listen()

    def _hung(self, ranks: list[int]) -> RankFailure:
        who = ", ".join(map(str, ranks))
        return RankFailure(
            ranks[0], f"ranks {who} live, and have neither said nor ended anything for {self._timeout:g} s"
        )

    def _perform(self, function: Callable[..., Any], args: tuple[object, ...]) -> None:
        """In the rank's own thread."""
        try:
            world = self._world
            emit_to(lambda text: world.tell_first("event", text))
            join_world(world, world.size, "gloo", backend=self._backend, timeout=self._timeout)
            world.tell_first("result", function(*args))
        except BaseException as error:  # whatever ends a task is the main thread's to tell
            self._error = error
        self._ended.set()


def join_world(world: World, ranks: int, name: str, *, backend: str, timeout: float) -> None:
    """In the thread that computes, of each of the first `ranks` ranks: become one of a torch.distributed world of them,
    which has a `name` that no other had. A collective gives up after rank 0 has, in `timeout` seconds."""
    import torch
    import torch.distributed as dist

    settle(threads=1)
    if backend != "gloo":
        torch.accelerator.set_device_index(world.place.local_rank)
    limit = timedelta(seconds=timeout * 1.25)
    dist.init_process_group(backend, store=world.store(name), rank=world.rank, world_size=ranks, timeout=limit)

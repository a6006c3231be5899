"""Ranks that are led: rank 0 alone runs a program, and torchrun's processes, on any host, do what it asks of them.

    rank 0    program ─ run(4, task, …) ─► order ─┐                  ┌─► results ─► … ─► what the program returns
    all       main thread hears ──────────────────┴─► rank's thread ─┘                        └─► told to all
                    └── and who is gone, whatever the program or a rank hangs in

What `HostRanks` is to a run of which every process knows what comes next, this is to a proof, which decides while it
goes. A task is a function of a closed list; its arguments and its results are parcels, which go through the store
beside the pulse, so that no beat waits for them. The first ranks do what wants fewer, in a world of their own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from plait.errors import PlaitError, RankFailure, UnusableInput
from plait.launchers.carried import carried, within
from plait.launchers.hosts import join_world
from plait.launchers.parcel import packed, unpacked
from plait.launchers.parts import drop, put, take
from plait.launchers.roster import raised_by
from plait.launchers.world import World

__all__ = ["led"]

T = TypeVar("T")

_Task = Callable[..., Any]
_Run = Callable[..., list[Any]]


def led(
    world: World,
    program: Callable[[_Run], T],
    *,
    tasks: Sequence[_Task],
    classes: Sequence[type],
    backend: str = "gloo",
    timeout: float = 60.0,
) -> T:
    """What `program(run)` returns on rank 0, on every process; all call this, with the same `tasks` and `classes`.

    `run(n, function, *args)` performs one of `tasks` on the first n ranks, and returns their results by rank. `classes`
    are those that arguments, results and the answer may be made of. `timeout`: seconds without a word from any rank.
    Raises what the program raises, on rank 0 as it is, elsewhere in the words of `World.listen`; RankFailure for a rank
    that is lost. A task that raises is raised by `run` alone: a program that goes on can ask for no more.
    """
    ranks = _Led(world, tasks, classes, partial(join_world, world, backend=backend, timeout=timeout), timeout)
    return ranks.lead(program) if world.rank == 0 else ranks.follow()


class _Led(Generic[T]):
    """One process of them. Its main thread calls `lead` or `follow`."""

    def __init__(
        self, world: World, tasks: Sequence[_Task], classes: Sequence[type], join: Callable[..., None], timeout: float
    ) -> None:
        self._world, self._tasks, self._classes, self._join, self._timeout = world, tasks, classes, join, timeout
        self._orders: SimpleQueue[tuple[int, dict[str, int]]] = SimpleQueue()  # for the rank's thread
        self._told: SimpleQueue[tuple[int, dict[str, Any]]] = SimpleQueue()  # on rank 0, for the program
        self._heard = self._given = 0  # orders
        self._own: dict[str, Any] = {}  # what rank 0 asks of itself
        self._spent: PlaitError | None = None
        self._error: BaseException | None = None
        self._answer: list[T] = []
        self._ended = threading.Event()
        self._number = next(world.programs)  # what an earlier one has said in this world stays said
        self._store = self._parcels()
        threading.Thread(target=self._serve, name="rank", daemon=True).start()

    def lead(self, program: Callable[[_Run], T]) -> T:
        """On rank 0."""
        threading.Thread(target=self._perform, args=(program,), name="program", daemon=True).start()
        while not self._ended.is_set():
            self._attend()
        if self._error is not None:
            raise self._error
        (answer,) = self._answer
        put(self._store, "answer", packed(answer, self._classes))
        self._world.say(self._named("answer"), {"hanging": self._spent is not None})
        self._world.hanging = self._spent is not None
        return answer

    def follow(self) -> T:
        """On every other rank."""
        while (told := self._world.heard(self._named("answer"), 0)) is None:
            self._attend()
        self._world.hanging = told["hanging"]
        return unpacked(take(self._store, "answer"), self._classes)

    def _named(self, what: str) -> str:
        """What is this program's own in a world that may perform several."""
        return f"{what} of program {self._number}"

    def _parcels(self) -> Any:
        """Another connection to where this program's parcels lie; each thread has its own."""
        return self._world.store(self._named("parcels"))

    def _attend(self) -> None:
        self._world.listen()
        while (order := self._world.heard(self._named(f"order {self._heard + 1}"), 0)) is not None:
            self._heard += 1
            self._orders.put((self._heard, order))
        while self._world.news:
            message = self._world.news.popleft()
            self._told.put((message.sender, message.body))

    # ---- the program's thread, on rank 0 ---------------------------------------------------------------------------

    def _perform(self, program: Callable[[_Run], T]) -> None:
        try:
            self._answer.append(program(self._run))
        except BaseException as error:  # the main thread raises it
            self._error = error
        self._ended.set()

    def _run(self, ranks: int, function: _Task, *args: object) -> list[Any]:
        if self._spent is not None:
            raise self._spent
        self._given += 1
        key = f"{self._given}"
        put(self._store, key, packed(args, self._classes))
        self._world.say(self._named(f"order {key}"), {"task": self._tasks.index(function), "ranks": ranks})
        done: set[int] = set()
        while len(done) < ranks:
            done.add(self._next_done(ranks, done))
        results = [self._own.pop(key), *(self._result(f"{key}/of {rank}") for rank in range(1, ranks))]
        drop(self._store, key)
        return results

    def _next_done(self, ranks: int, done: set[int]) -> int:
        try:
            sender, raised = self._told.get(timeout=self._timeout)
        except Empty:
            late = [rank for rank in range(ranks) if rank not in done]
            who = ", ".join(map(str, late))
            words = f"ranks {who} live, and have neither said nor ended anything for {self._timeout:g} s"
            self._spent = RankFailure(late[0], words)
            raise self._spent from None
        if raised:
            unusable = raised["unusable"]
            self._spent = RankFailure(sender, raised["report"]) if unusable is None else UnusableInput(unusable)
            raise self._spent
        return sender

    def _result(self, key: str) -> Any:
        data = take(self._store, key)
        drop(self._store, key)
        return unpacked(data, self._classes)

    # ---- the rank's thread -----------------------------------------------------------------------------------------

    def _serve(self) -> None:
        store, size = self._parcels(), 0
        while True:
            number, order = self._orders.get()
            try:
                size = self._in_world_of(order["ranks"], size, number)
                if self._world.rank < order["ranks"]:
                    self._obey(store, str(number), self._tasks[order["task"]])
                    self._world.tell_first("result", {})
            except BaseException as error:  # whatever ends a task is rank 0's to know
                self._world.tell_first("result", raised_by(self._world.rank, error))

    def _in_world_of(self, ranks: int, size: int, number: int) -> int:
        """Change to a world of the first `ranks` from one of `size`."""
        import torch.distributed as dist

        if ranks != size:
            if dist.is_initialized():
                dist.destroy_process_group()
            if self._world.rank < ranks:
                self._join(ranks, self._named(f"world {number}"))
        return ranks

    def _obey(self, store: Any, key: str, task: _Task) -> None:
        args = unpacked(take(store, key), self._classes)
        result = within(carried(), task, *args)
        if self._world.rank == 0:
            self._own[key] = result
        else:
            put(store, f"{key}/of {self._world.rank}", packed(result, self._classes))

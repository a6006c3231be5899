"""Operations that several ranks perform together, advanced by whoever waits: no thread runs behind the program's back.

    start ──► the operation runs until it needs the others, and rests
    wait  ──► it is driven to its end                        spin ─► yield the core ─► sleep, look who is alive

Looking takes a core as well: where ranks share cores, who has waited long sleeps longer (`Queue.crowded`), or pipelines
would take a third more time, since those of a stage that waits hold up those of the stage that works.

An operation is a generator: it yields what it waits for, and is resumed once that is so. Those of one queue go in their
order; while one is waited for, all others that rest are driven too, so that ranks which wait in another order than
their neighbours don't block each other.

An operation that raises has failed, and so have those of its queue after it: nobody knows where the others stand. Who
waits for one of them, or waits again, is told each time.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple, Protocol

from plait.launchers.stopwatch import Stopwatch

__all__ = [
    "LOOK_SECONDS",
    "NAP_SECONDS",
    "Awaited",
    "Condition",
    "Operation",
    "Queue",
    "Steps",
    "drive_others",
]

_SPINS = 100  # some ten microseconds
_YIELDS_SECONDS = 0.005  # then a sleep's own latency hardly counts
NAP_SECONDS = 50e-6  # of who waits long, between two looks at what it waits for
_LATE, _LONGEST_NAP = 0.03, 5e-3  # of a wait, by which who shares a core may notice its end too late; seconds
LOOK_SECONDS = 0.1  # between two looks at those that it waits for


class Awaited(Protocol):
    """What an operation may wait for."""

    @property
    def met(self) -> bool:
        """Whether it is so now."""
        ...

    @property
    def missing(self) -> Sequence[int]:
        """The places of those who are to bring it about and have not, where that is known."""
        ...


class Condition(NamedTuple):
    """Fulfilled when each of `counters` (one int64 each, in shared memory) has come to `target`; `places`: the ranks
    that count them up."""

    counters: Sequence[memoryview]
    target: int
    places: Sequence[int]

    @property
    def met(self) -> bool:
        """Whether it is fulfilled now."""
        target = self.target
        return all(counter[0] >= target for counter in self.counters)

    @property
    def missing(self) -> list[int]:
        """Whose counters have not come there."""
        return [n for n, counter in zip(self.places, self.counters, strict=True) if counter[0] < self.target]


Steps = Generator[Awaited, None, None]


_resting: dict[Queue, None] = {}  # the queues of this process that have unfinished operations, in order


def drive_others() -> bool:
    """Advance all operations of this process that rest, for one who waits for something else; whether any still do."""
    for queue in tuple(_resting):
        queue.progress()
    return bool(_resting)


class Queue:
    """Operations in their order. `look` is called now and then in a long wait, with the seconds that it has lasted and
    what is waited for: it raises if that can't come any more. `spins`: there is a core for each who waits; `crowded`:
    this host has fewer cores than ranks."""

    def __init__(self, look: Callable[[float, Awaited], None], *, spins: bool, crowded: bool = False) -> None:
        self.look = look
        self.spins = _SPINS if spins else 0
        self._late = _LATE if crowded else 0.0
        self._operations: deque[Operation] = deque()
        self._failed: BaseException | None = None

    def start(self, steps: Steps) -> Operation:
        """Begin an operation, as far as it gets without waiting. Raises as `progress` does."""
        operation = Operation(self, steps)
        self._operations.append(operation)
        if not self.progress():
            _resting[self] = None
        return operation

    @property
    def needed(self) -> Awaited | None:
        """What the operation whose turn it is waits for."""
        return self._operations[0].needed if self._operations else None

    def nap(self, seconds: float) -> float:
        """How long to sleep after so long a wait, until the next look."""
        return max(NAP_SECONDS, min(self._late * seconds, _LONGEST_NAP))

    def progress(self) -> bool:
        """Advance the operations as far as they get; whether all have ended. Raises what one of them has raised, also
        long ago."""
        if self._failed is not None:
            raise self._failed
        try:
            while self._operations:
                if not self._operations[0].advance():
                    return False
                self._operations.popleft()
        except BaseException as error:
            self._failed = error
            _resting.pop(self, None)
            raise
        _resting.pop(self, None)
        return True


class Operation:
    """One operation under way."""

    def __init__(self, queue: Queue, steps: Steps) -> None:
        self._queue, self._steps = queue, steps
        self.needed: Awaited | None = None
        self.done = False

    def advance(self) -> bool:
        """Go on as far as the others allow; whether it has ended."""
        while not self.done and (self.needed is None or self.needed.met):
            self.needed = next(self._steps, None)
            self.done = self.needed is None
        return self.done

    def wait(self) -> None:
        """Drive it to its end. Raises PeerLost where a rank that is needed is gone, or not there in time, and what the
        operation has raised, or one before it."""
        if not self.done:
            self._queue.progress()
        spins = self._queue.spins
        while not self.done and spins:
            spins -= 1
            self._queue.progress()
        if not self.done:
            self._wait_long()

    def _wait_long(self) -> None:
        watch, looked = Stopwatch(), 0.0
        needed = self._queue.needed  # of an operation before this one, it may be
        while True:
            self._queue.progress()
            if self.done:
                return
            seconds = watch.seconds()
            if self._queue.needed is not needed:  # another part of it has come
                watch.anew()
                needed, seconds, looked = self._queue.needed, 0.0, 0.0
            if seconds > _YIELDS_SECONDS:
                time.sleep(self._queue.nap(seconds) if len(_resting) == 1 else NAP_SECONDS)
            else:
                os.sched_yield()
            drive_others()
            if seconds - looked > LOOK_SECONDS and needed is not None:
                looked = seconds
                self._queue.look(seconds, needed)

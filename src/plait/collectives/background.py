"""Work that a thread performs, one after the other, for wires whose steps can only be waited for and not be looked at
(gloo's sends and receives).

    start a, start b ──► [ a │ b ]  the thread, as soon as it is awake      the program computes meanwhile
    wait for b       ──► [ a │ b ]  or the one who waits, if it comes first

What is started in one order on all ranks is so performed in that order on all, in whatever order it is waited for. The
thread ends when it has had nothing to do for a while. A program that ends waits for them first, but not for ever: a
thread that is inside gloo when the interpreter goes takes the process with it, by an abort. It knows functions; it must
not know what they do.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from weakref import WeakSet

import torch

from plait.collectives.progress import LOOK_SECONDS, NAP_SECONDS, drive_others
from plait.collectives.wire import Work

__all__ = ["Line", "Task", "wait_and_drive"]

_LINGER_SECONDS = 1.0
_LAST_SECONDS = 5.0  # that a program which ends waits for what is under way


class Line:
    """Tasks in their order. When one has failed, those after it fail alike: nobody knows where the others stand."""

    def __init__(self) -> None:
        self._tasks: deque[Task] = deque()
        self._turn = threading.Lock()  # held by who performs
        self._guard = threading.Lock()  # held for moments
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self.failed: BaseException | None = None
        _lines.add(self)

    @property
    def rests(self) -> bool:
        """Whether nothing is under way."""
        return not self._tasks and not self._turn.locked()

    def start(self, function: Callable[[], object]) -> Task:
        """Perform it when its turn has come."""
        task = Task(self, function)
        self._tasks.append(task)
        self._bell.put(None)
        with self._guard:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="collectives", daemon=True)
                self._thread.start()
        return task

    def perform(self, *, patiently: bool) -> bool:
        """Perform the next task; unless `patiently`, only where nobody is at it. Whether it was this one's turn."""
        if not self._turn.acquire(blocking=patiently):
            return False
        try:
            if self._tasks:
                self._tasks.popleft().perform()
        finally:
            self._turn.release()
        return True

    def _serve(self) -> None:
        while True:
            try:
                self._bell.get(timeout=_LINGER_SECONDS)
            except Empty:
                with self._guard:
                    if self._bell.empty():
                        self._thread = None
                        return
            else:
                self.perform(patiently=True)


_lines: WeakSet[Line] = WeakSet()


@atexit.register
def _come_to_an_end() -> None:
    deadline = time.monotonic() + _LAST_SECONDS
    while any(not line.rests for line in tuple(_lines)) and time.monotonic() < deadline:
        time.sleep(NAP_SECONDS)


class Task:
    """One of a line's."""

    def __init__(self, line: Line, function: Callable[[], object]) -> None:
        self._line = line
        self._function: Callable[[], object] | None = function
        self._ended = threading.Event()
        self._error: BaseException | None = None

    def perform(self) -> None:
        """Its turn: call the function, and keep what it raises for who waits."""
        function, self._function = self._function, None
        assert function is not None, "a task is performed once"
        try:
            if self._line.failed is not None:
                raise self._line.failed
            with torch.no_grad():  # a thread's own mode; collectives are no part of any graph
                function()
        except BaseException as error:
            self._error = self._line.failed = error
        finally:
            self._ended.set()

    def ended(self, within: float = 0.0) -> bool:
        """Whether it has, after so many seconds at most."""
        return self._ended.wait(within)

    def wait(self) -> None:
        """Return when it is done; raises what it raised. What rests elsewhere is driven meanwhile."""
        while not self._ended.is_set():
            if drive_others():
                self._ended.wait(NAP_SECONDS)
            elif not self._line.perform(patiently=False):
                self._ended.wait(LOOK_SECONDS)
        if self._error is not None:
            raise self._error


def wait_and_drive(work: Work) -> None:
    """Wait for a work that goes on by itself, and drive what rests meanwhile."""
    if not drive_others():
        work.wait()
        return
    Line().start(work.wait).wait()

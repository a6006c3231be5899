"""Tasks of a line: their order, who performs them, what is raised, and that what rests elsewhere goes on meanwhile."""

from __future__ import annotations

import array
import subprocess
import sys
import threading
import time

import pytest
import torch

from plait.collectives import background
from plait.collectives.background import Line, wait_and_drive
from plait.collectives.progress import Condition, Queue, Steps


def test_tasks_go_in_their_order_whichever_is_waited_for():
    line, done = Line(), []
    tasks = [line.start(lambda n=n: done.append(n)) for n in range(20)]
    for task in (tasks[-1], *tasks):
        task.wait()
    assert done == list(range(20))


@pytest.mark.parametrize(("ends", "said"), [("line.start(lambda: (time.sleep(0.3), print('done')))", "done"), ("", "")])
def test_a_program_that_ends_lets_what_is_under_way_come_to_its_end(ends: str, said: str):
    program = f"import time\nfrom plait.collectives.background import Line\nline = Line()\n{ends}"
    began = time.monotonic()
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == said
    assert time.monotonic() - began < 30


def test_a_program_that_ends_does_not_wait_for_ever():
    program = (
        "import time\nfrom plait.collectives import background\nbackground._LAST_SECONDS = 0.2\n"
        "line = background.Line()\nline.start(lambda: time.sleep(3600))"
    )
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)


def test_tasks_go_on_while_nobody_waits_and_know_no_gradients():
    line, modes = Line(), []
    task = line.start(lambda: modes.append((torch.is_grad_enabled(), threading.current_thread().name)))
    assert task.ended(within=10.0)
    assert modes == [(False, "collectives")]


def test_who_waits_leaves_the_thread_its_turn():
    """While the thread is at the first one, who waits for the second does not take its turn from it."""
    line, gate = Line(), threading.Event()
    first, second = line.start(lambda: gate.wait(10.0)), line.start(lambda: None)
    assert not second.ended(within=0.05)
    gate.set()
    second.wait()
    assert first.ended()


def failing():
    raise ValueError("the first one's")


def test_an_error_is_raised_where_it_is_waited_for_and_by_all_after_it():
    line, done = Line(), []
    tasks = [line.start(failing), line.start(lambda: done.append(1))]
    for task in reversed(tasks):
        with pytest.raises(ValueError, match="the first one's"):
            task.wait()
    assert done == []


def test_the_thread_ends_when_it_has_nothing_to_do_and_another_begins(monkeypatch):
    monkeypatch.setattr(background, "_LINGER_SECONDS", 0.01)
    line = Line()
    for _ in range(3):
        assert line.start(lambda: None).ended(within=10.0)
        deadline = time.monotonic() + 10.0
        while line._thread is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert line._thread is None


def never(seconds: float, needed: object) -> None:
    raise AssertionError("nobody waits for this one")


class Ending:
    """A work that ends when what rests has been driven so far."""

    def __init__(self, event: threading.Event) -> None:
        self.event = event

    def wait(self) -> None:
        assert self.event.wait(10.0), "nobody drove what rests"


@pytest.mark.parametrize("way", ["a task", "another wire's work"])
def test_what_rests_goes_on_meanwhile(way):
    driven, queue = threading.Event(), Queue(never, spins=False)
    counter = memoryview(array.array("q", [0]))

    def resting() -> Steps:
        yield Condition([counter], 1, [0])
        driven.set()

    operation = queue.start(resting())
    counter[0] = 1  # it could go on now, if anybody drove it
    if way == "a task":
        Line().start(Ending(driven).wait).wait()
    else:
        wait_and_drive(Ending(driven))
    assert operation.done

"""Operations that rest and go on: their order, their driver, and what happens when nothing comes."""

from __future__ import annotations

import array

import pytest

from plait.collectives import progress
from plait.collectives.progress import Condition, Queue, Steps, drive_others
from plait.errors import PeerLost
from plait.launchers.stopwatch import Stopwatch


class Others:
    """What the other ranks would count up."""

    def __init__(self) -> None:
        self._numbers = array.array("q", [0])
        self.counter = memoryview(self._numbers)
        self.done: list[str] = []

    def until(self, target: int) -> Condition:
        return Condition([self.counter], target, [1])

    def operation(self, name: str, *targets: int) -> Steps:
        for target in targets:
            yield self.until(target)
        self.done.append(name)


def never(seconds: float, needed: Condition) -> None:
    raise PeerLost(f"nobody came for {seconds:.1f} s to {needed.target}")


def queue(look=never) -> Queue:
    return Queue(look, spins=True)


def test_a_condition_is_met_when_all_have_come():
    one, other = Others(), Others()
    needed = Condition([one.counter, other.counter], 2, [1, 3])
    one.counter[0] = 2
    assert (needed.met, needed.missing) == (False, [3])
    other.counter[0] = 3
    assert needed.met


def test_what_needs_nobody_is_done_at_once():
    others = Others()
    assert queue().start(others.operation("a", 0)).done
    assert others.done == ["a"]


def test_operations_of_a_queue_go_in_their_order():
    others, line = Others(), queue()
    first, second = line.start(others.operation("first", 1, 2)), line.start(others.operation("second", 1))
    others.counter[0] = 1
    assert not line.progress()
    assert (first.done, second.done) == (False, False)  # the second could go on, and has to wait for its turn
    others.counter[0] = 2
    assert line.progress()
    assert others.done == ["first", "second"]


def test_waiting_for_the_last_drives_those_before_it():
    others, line = Others(), queue()
    line.start(others.operation("first", 1))
    last = line.start(others.operation("last", 2))
    others.counter[0] = 2
    last.wait()
    assert others.done == ["first", "last"]


def test_while_one_queue_waits_all_others_go_on():
    """The other queue's operation is what makes the counter move that this one waits for."""
    others, line, beside = Others(), queue(), queue()

    def helpful() -> Steps:
        yield Condition([start], 1, [1])
        others.counter[0] = 1

    start = memoryview(array.array("q", [0]))
    beside.start(helpful())
    waiting = line.start(others.operation("a", 1))
    start[0] = 1  # from now on the other one could go on, if anybody drove it
    waiting.wait()
    assert others.done == ["a"]


def test_a_wait_for_a_later_one_looks_at_what_its_turn_waits_for():
    others, line = Others(), queue()
    line.start(others.operation("first", 7))
    last = line.start(others.operation("last", 1))
    with pytest.raises(PeerLost, match="to 7"):
        last.wait()


def test_a_long_wait_looks_at_who_is_missing_and_ends_when_nobody_can_come():
    others = Others()
    waiting = queue().start(others.operation("a", 5))
    with pytest.raises(PeerLost, match=r"nobody came for 0\.\d s to 5"):
        waiting.wait()
    assert others.done == []


def failing(others: Others, target: int) -> Steps:
    yield others.until(target)
    raise PeerLost("they do something else")


def test_an_operation_that_has_failed_says_so_each_time_it_is_waited_for():
    others, line = Others(), queue()
    failed = line.start(failing(others, 1))
    others.counter[0] = 1
    for _ in range(3):
        with pytest.raises(PeerLost, match="something else"):
            failed.wait()
        assert not failed.done


def test_those_behind_it_fail_alike_and_those_before_it_are_done():
    others, line = Others(), queue()
    first = line.start(others.operation("first", 1))
    line.start(failing(others, 1))
    last = line.start(others.operation("last", 1))
    others.counter[0] = 1
    with pytest.raises(PeerLost):
        last.wait()
    first.wait()
    assert others.done == ["first"]
    with pytest.raises(PeerLost):
        last.wait()
    with pytest.raises(PeerLost):
        line.start(others.operation("another", 0))
    assert others.done == ["first"]


def test_what_has_failed_is_told_once_to_who_drives_it_and_others_are_driven_on():
    others, line, beside = Others(), queue(), queue()
    line.start(failing(others, 1))
    resting = beside.start(others.operation("beside", 2))
    others.counter[0] = 1
    with pytest.raises(PeerLost):
        drive_others()
    others.counter[0] = 2
    drive_others()
    assert resting.done


def test_a_watch_counts_the_time_in_which_this_process_was_there(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    watch = Stopwatch()
    for _ in range(4):
        now[0] += 1.0
        told = watch.seconds()
    assert told == 4.0
    now[0] += 600.0  # Ctrl-Z, and fg ten minutes later
    assert watch.seconds() == 4.0
    now[0] += 1.0
    assert watch.seconds() == 5.0
    watch.anew()
    assert watch.seconds() == 0.0


def test_who_shares_a_core_sleeps_longer_the_longer_it_has_waited():
    alone, shared = (Queue(never, spins=False, crowded=crowded) for crowded in (False, True))
    assert [alone.nap(seconds) for seconds in (0.006, 0.1, 10.0)] == [progress.NAP_SECONDS] * 3
    assert [shared.nap(seconds) for seconds in (0.001, 0.1, 10.0)] == [progress.NAP_SECONDS, 0.003, 0.005]


def test_a_long_wait_among_many_looks_seldom_and_notices_its_end(monkeypatch: pytest.MonkeyPatch):
    others, slept = Others(), list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.now += seconds
        if clock.now > 0.2:
            others.counter[0] = 1

    class Clock:
        now = 0.0

    clock = Clock()
    monkeypatch.setattr(progress, "_resting", {})
    monkeypatch.setattr(progress.time, "sleep", sleep)
    monkeypatch.setattr(progress.os, "sched_yield", lambda: sleep(1e-3))
    monkeypatch.setattr(progress, "Stopwatch", lambda: StandingStill(clock))
    for crowded, most in ((False, 5000), (True, 140)):
        clock.now, others.counter[0] = 0.0, 0
        slept.clear()
        Queue(lambda *_: None, spins=False, crowded=crowded).start(others.operation("a", 1)).wait()
        assert 0.2 <= clock.now <= 0.2 * 1.03 + 1e-3
        assert len(slept) < most


class StandingStill:
    """A stopwatch on a clock that only sleeping moves."""

    def __init__(self, clock) -> None:
        self._clock, self._from = clock, clock.now

    def seconds(self) -> float:
        return self._clock.now - self._from

    def anew(self) -> None:
        self._from = self._clock.now


def test_who_has_something_else_to_drive_naps_shortly(monkeypatch: pytest.MonkeyPatch):
    others, slept = Others(), list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        others.counter[0] = int(len(slept) > 20)

    class Ages:
        """A wait that has lasted for long."""

        def seconds(self) -> float:
            return 0.1

        def anew(self) -> None:
            pass

    monkeypatch.setattr(progress, "_resting", {})
    monkeypatch.setattr(progress.time, "sleep", sleep)
    monkeypatch.setattr(progress, "Stopwatch", Ages)
    alone, other = (Queue(lambda *_: None, spins=False, crowded=True) for _ in range(2))
    alone.start(others.operation("a", 1)).wait()
    assert slept == pytest.approx([0.003] * len(slept))
    resting = Others()
    other.start(resting.operation("b", 1))
    slept.clear()
    others.counter[0] = 0
    alone.start(others.operation("c", 1)).wait()
    assert set(slept) == {progress.NAP_SECONDS}

"""Timing on a clock that the test turns: medians, turns, repeats and the budget, without waiting for any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle

import pytest

from plait.devices import timing
from plait.devices.device import Device


class Clock:
    """A clock that moves only when work is done."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def work(self, name: str, durations: Iterator[float]) -> Callable[[], None]:
        """A case that takes the next of `durations`."""

        def run() -> None:
            self.log.append(name)
            self.now += next(durations)

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for name in ("perf_counter", "thread_time"):
        monkeypatch.setattr(timing.time, name, lambda: made.now)
    return made


def median_seconds(clock: Clock, durations: dict[str, list[float]], budget: float) -> dict[str, float]:
    cases = {name: clock.work(name, cycle(times)) for name, times in durations.items()}
    return timing.median_seconds(cases, budget=budget, device=Device())


def test_a_rare_slow_call_does_not_move_the_median(clock: Clock):
    assert median_seconds(clock, {"a": [1.0, 1.0, 1.0, 9.0]}, budget=100.0)["a"] == 1.0


def test_cases_take_turns(clock: Clock):
    median_seconds(clock, {"a": [1.0], "b": [1.0]}, budget=0.0)
    assert "".join(clock.log) == "aabb" + "ab" * 3


def test_a_short_call_is_repeated_until_the_clock_can_tell(clock: Clock):
    found = median_seconds(clock, {"short": [1e-5], "long": [1.0]}, budget=0.0)
    assert found == pytest.approx({"short": 1e-5, "long": 1.0})
    assert 40 <= (clock.log.count("short") - 1 - 5) / 3 <= 44  # trials beforehand; 0.4 ms a round
    assert clock.log.count("long") == 2 + 3


def test_one_slow_trial_does_not_make_a_short_call_long(clock: Clock):
    calls = iter([5.0, 3.0])  # the first imports, the second is disturbed
    clock_case = clock.work("short", iter(lambda: next(calls, 1e-5), None))
    found = timing.median_seconds({"short": clock_case}, budget=0.0, device=Device())
    assert found["short"] == pytest.approx(1e-5)


def test_the_budget_ends_it(clock: Clock):
    median_seconds(clock, {"a": [1.0]}, budget=10.0)
    assert len(clock.log) == 2 + 10


def test_a_call_that_takes_no_time_ends_too(clock: Clock):
    assert median_seconds(clock, {"a": [0.0]}, budget=1.0)["a"] == 0.0


def test_one_thread_of_a_cpu_is_timed_by_its_own_clock(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(timing.torch, "get_num_threads", lambda: 1)
    assert timing._clock_of(Device()) is timing.time.thread_time
    monkeypatch.setattr(timing.torch, "get_num_threads", lambda: 2)
    assert timing._clock_of(Device()) is timing.time.perf_counter
    assert timing._clock_of(Device(kind="cuda")) is timing.time.perf_counter


def test_what_the_case_before_left_cold_is_outvoted(clock: Clock):
    turns = cycle([8e-4] + [1e-4] * 3)  # each turn of the short case begins with a slow call

    def long() -> None:
        clock.now += 1.0

    def short() -> None:
        clock.now += next(turns)

    for _ in range(6):
        next(turns)  # let the trials beforehand end where a turn begins
    found = timing.median_seconds({"long": long, "short": short}, budget=0.0, device=Device())
    assert found["short"] == pytest.approx(1e-4)


def test_something_else_comes_before_each_reading_and_is_not_timed(clock: Clock):
    case, other = clock.work("a", cycle([1e-5])), clock.work("-", cycle([7.0]))
    found = timing.median_seconds({"a": case}, budget=0.0, device=Device(), between=other)
    assert found == pytest.approx({"a": 1e-5})
    assert "".join(clock.log) == "-a" * (len(clock.log) // 2), "a reading is of one call"

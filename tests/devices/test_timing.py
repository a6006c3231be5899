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
    monkeypatch.setattr(timing.time, "perf_counter", lambda: made.now)
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
    assert clock.log.count("short") == 2 + 3 * 20
    assert clock.log.count("long") == 2 + 3


def test_the_budget_ends_it(clock: Clock):
    median_seconds(clock, {"a": [1.0]}, budget=10.0)
    assert len(clock.log) == 2 + 10


def test_a_call_that_takes_no_time_ends_too(clock: Clock):
    assert median_seconds(clock, {"a": [0.0]}, budget=1.0)["a"] == 0.0

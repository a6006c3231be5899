"""How things are timed here: every case a little, in turn, round after round, and the median of each.

    round 1   aa aa aa  b  c c c      short cases several times in turn, so that the first, cold one is outvoted
    round 2   aa aa aa  b  c c c      aa: repeated until the clock's grain is nothing
    ...                               a slow moment of the machine hits one round of all, not all rounds of one

Work on one thread of a CPU is timed by that thread's own clock, which stands still while another program has the core.
What a program does once in a long while is timed a call at a time, after something else (`between`).
It knows callables and clocks, not what they do.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

from plait.devices.device import Device

__all__ = ["median_seconds"]

_CHUNK_SECONDS, _TURN_SECONDS = 1e-4, 4e-4  # the least of one reading of the clock, and of a case's turn
_MOST_TRIALS, _TRIAL_SECONDS = 5, 4e-3  # of a case, to see how short it is
_FEWEST_ROUNDS = 3
_MOST_ROUNDS = 200

Key = TypeVar("Key", bound=Hashable)
_Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class _Stopwatch:
    device: Device
    clock: _Clock
    between: Callable[[], object] | None

    def seconds(self, case: Callable[[], object], repeats: int) -> float:
        """All `repeats` calls together, until the device is done with them."""
        if self.between is not None:
            self.between()
        self.device.synchronize()
        began = self.clock()
        for _ in range(repeats):
            case()
        self.device.synchronize()
        return self.clock() - began


def median_seconds(
    cases: Mapping[Key, Callable[[], object]],
    *,
    budget: float,
    device: Device,
    clock: _Clock | None = None,
    between: Callable[[], object] | None = None,
) -> dict[Key, float]:
    """The median time of one call of each case, in seconds, taking about `budget` seconds for all of them together.

    Each is called a few times beforehand and timed at least three times, whatever the budget. `clock` is for what
    waits for others, whose waiting counts. `between` is called before each reading, which then is of one call.
    """
    stopwatch = _Stopwatch(device=device, clock=clock or _clock_of(device), between=between)
    shortest = {key: _shortest(case, stopwatch) for key, case in cases.items()}
    chunk, turn = (_CHUNK_SECONDS, _TURN_SECONDS) if between is None else (0.0, 0.0)
    repeats = {key: max(1, math.ceil(chunk / seconds)) for key, seconds in shortest.items()}
    turns = {key: max(1, math.ceil(turn / (seconds * repeats[key]))) for key, seconds in shortest.items()}
    times: dict[Key, list[float]] = {key: [] for key in cases}
    end = time.perf_counter() + budget
    for done in range(_MOST_ROUNDS):
        if done >= _FEWEST_ROUNDS and time.perf_counter() >= end:
            break
        for key, case in cases.items():
            times[key] += [stopwatch.seconds(case, repeats[key]) / repeats[key] for _ in range(turns[key])]
    return {key: statistics.median(found) for key, found in times.items()}


def _shortest(case: Callable[[], object], stopwatch: _Stopwatch) -> float:
    """Seconds of its best trial: one slow trial must not have a short case timed alone, and cold."""
    stopwatch.seconds(case, 1)  # the first call imports, allocates, compiles
    spent, shortest = 0.0, math.inf
    for _ in range(_MOST_TRIALS):
        shortest = min(shortest, stopwatch.seconds(case, 1))
        spent += shortest
        if spent >= _TRIAL_SECONDS:
            break
    return max(shortest, 1e-7)


def _clock_of(device: Device) -> _Clock:
    one_thread = not device.is_accelerator and torch.get_num_threads() == 1
    return time.thread_time if one_thread else time.perf_counter

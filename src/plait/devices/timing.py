"""How things are timed here: every case a little, in turn, round after round, and the median of each.

    round 1   a a a  b  c c      a chunk: as many repeats as reach CHUNK_SECONDS, so that the clock's grain is nothing
    round 2   a a a  b  c c
    ...                          a slow moment of the machine hits one round of everything, not every round of one case

It knows callables and the clock, not what they do.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from plait.devices.device import Device

__all__ = ["median_seconds"]

_CHUNK_SECONDS = 2e-4
_FEWEST_ROUNDS = 3
_MOST_ROUNDS = 200

Key = TypeVar("Key", bound=Hashable)


def median_seconds(cases: Mapping[Key, Callable[[], object]], *, budget: float, device: Device) -> dict[Key, float]:
    """The median time of one call of each case, in seconds, taking about `budget` seconds for all of them together.

    Each is called twice beforehand and timed at least three times, whatever the budget.
    """
    repeats = {key: _repeats(case, device) for key, case in cases.items()}
    times: dict[Key, list[float]] = {key: [] for key in cases}
    end = time.perf_counter() + budget
    for done in range(_MOST_ROUNDS):
        if done >= _FEWEST_ROUNDS and time.perf_counter() >= end:
            break
        for key, case in cases.items():
            times[key].append(_chunk(case, repeats[key], device) / repeats[key])
    return {key: statistics.median(found) for key, found in times.items()}


def _repeats(case: Callable[[], object], device: Device) -> int:
    _chunk(case, 1, device)  # the first call allocates, compiles, and fills caches
    return math.ceil(_CHUNK_SECONDS / max(_chunk(case, 1, device), 1e-7))


def _chunk(case: Callable[[], object], repeats: int, device: Device) -> float:
    device.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        case()
    device.synchronize()
    return time.perf_counter() - began

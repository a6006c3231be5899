"""A link between two ranks that takes its time and no core: what is sent sleeps, one message after another.

    link   ░░░0░░░ ░1░ ░░░░2░░░░        each as long as it is, once it was started, and the one before it is over
    wait                    ├──┤        what is slept in `wait` was not hidden

The other rank adds zeros to every sum, and its parts are zeros, so that one process is enough.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from plait.collectives.c10d import C10d
from plait.collectives.wire import Started

__all__ = ["SleepingLink"]


@dataclass
class _Arriving:
    """Done at a moment."""

    link: SleepingLink
    kind: str
    moment: float

    def wait(self) -> None:
        left = self.moment - time.monotonic()
        if left > 0.0:  # a sleep of nothing gives the core away all the same
            self.link.waited[self.kind] += left
            time.sleep(left)


class SleepingLink(C10d):
    """This rank's end of it, at place 0. `taken` and `waited`: by kind, the seconds of messages on the link, and those
    of them that were left when they were waited for: other work on the machine makes these fewer, never more."""

    def __init__(self, *, message_seconds: float = 0.0, byte_seconds: float = 0.0) -> None:
        self.index, self._free = 0, 0.0
        self._message_seconds, self._byte_seconds = message_seconds, byte_seconds
        self.transfers = 0
        self.taken: defaultdict[str, float] = defaultdict(float)
        self.waited: defaultdict[str, float] = defaultdict(float)

    def all_reduce(self, flat: torch.Tensor, operation: str) -> _Arriving:
        return self._sent("all_reduce", flat.nbytes)

    def reduce_scatter(self, parts: Sequence[torch.Tensor]) -> Started:
        return Started(self._sent("reduce_scatter", parts[1].nbytes), lambda: [parts[0].clone()])

    def all_gather(self, flat: torch.Tensor, counts: Sequence[int]) -> Started:
        return Started(self._sent("all_gather", flat.nbytes), lambda: [flat, flat.new_zeros(counts[1])])

    def exposed(self, kind: str) -> float:
        """Of the time that messages of a kind take, what was waited for."""
        return self.waited[kind] / self.taken[kind]

    @property
    def exposed_in_all(self) -> float:
        """The same of all messages."""
        return sum(self.waited.values()) / sum(self.taken.values())

    def _sent(self, kind: str, nbytes: int) -> _Arriving:
        self.transfers += 1
        seconds = self._message_seconds + nbytes * self._byte_seconds
        self.taken[kind] += seconds
        self._free = max(self._free, time.monotonic()) + seconds
        return _Arriving(self, kind, self._free)

"""Where the ranks of one host meet: for each rank a segment that it alone writes and all read.

    rank's segment   [ phase, codes | parts sent to, taken from each │ slot 0 │ slot 1 │ mail to 0 │ mail to 1 … ]

A *phase* is the one thing that a group does together: write into one's slot, publish, wait until all have published,
read the others' slots.

    rank 0   write slot 0 ─ phase 1 ─ read ─ write slot 1 ─ phase 2 ─ read ─ write slot 0 …
    rank 1   write slot 0 ── phase 1 ── read ── write slot 1 ── phase 2 ── read …

Slots take turns: who writes phase p has seen all publish p - 1, which they do once they have read p - 2, the last in
the same slot. A code published along with each phase says what it is: ranks that don't do the same thing are told so.

Flags are plain 8-byte stores: processors of the x86 family show them to others in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from plait.collectives.progress import Awaited, Condition, Queue
from plait.errors import PeerLost
from plait.launchers import torchrun
from plait.launchers.processes import process_state
from plait.specs.cluster import usable_cores

__all__ = [
    "KINDS",
    "MAIL_BYTES",
    "SIZE_BITS",
    "SLOT_BYTES",
    "Arena",
    "Member",
    "crowded",
    "located",
    "segment_bytes",
    "words",
]

SLOT_BYTES = 1 << 20
MAIL_BYTES = 1 << 26  # of messages on their way from one rank to another
KINDS = ("all-reduce", "reduce-scatter", "all-gather", "broadcast", "all-to-all", "sharing")  # a code's, from 1
SIZE_BITS = 48  # of a code; above them stands the kind
_LINE = 16  # int64 in two cache lines: what two ranks write never shares one
_STOPPED_SECONDS = 5.0
_MOST_VIEWS = 512


class Member(NamedTuple):
    """A rank of the arena: its number in the world, its process, and when that began (a number may be used again)."""

    rank: int
    process: int
    began: int


def crowded() -> bool:
    """Whether this host has fewer cores than ranks of this world."""
    there = torchrun.place()
    ranks = there.local_size if there else dist.get_world_size() if dist.is_initialized() else 1
    return ranks > usable_cores()


def segment_bytes(ranks: int) -> int:
    """The size of each rank's segment, of which only what is used takes memory."""
    return _header(ranks) + 2 * SLOT_BYTES + ranks * MAIL_BYTES


class Arena:
    """One rank's view of it. `segments`: all ranks', in the group's order, mapped here; `patience`: seconds after which
    a rank that has not come counts as hung."""

    def __init__(
        self, segments: Sequence[torch.Tensor], members: Sequence[Member], index: int, patience: float
    ) -> None:
        self.size, self.index = len(segments), index
        self._segments, self._members, self._patience = segments, members, patience
        counters = [words(one[: _header(self.size)]) for one in segments]
        self._phases = [one[:1] for one in counters]
        self._codes = [[one[_LINE * (1 + slot) : _LINE * (1 + slot) + 1] for slot in (0, 1)] for one in counters]
        self._words = counters
        self._phase = 0
        self._views: dict[tuple[int, torch.dtype, int, int], list[torch.Tensor]] = {}
        self._addresses = [
            [one.data_ptr() + _header(self.size) + slot * SLOT_BYTES for one in segments] for slot in (0, 1)
        ]
        self._own_phase = self._phases[index]
        self._others = [place for place in range(self.size) if place != index]
        self._phases_of_others = [self._phases[place] for place in self._others]
        self.queue = self.new_queue()

    @property
    def others(self) -> Sequence[int]:
        """The places of all ranks but this one."""
        return self._others

    def new_queue(self) -> Queue:
        """For operations that go in an order of their own."""
        many = crowded()
        return Queue(self._look, spins=not many, crowded=many)

    def slots(self, dtype: torch.dtype, count: int, start: int = 0) -> list[torch.Tensor]:
        """Of each rank `count` elements from `start` of the slot of the phase that comes next. Only the own is
        written."""
        key = ((self._phase + 1) % 2, dtype, count, start)
        views = self._views.get(key)
        if views is None:
            if len(self._views) >= _MOST_VIEWS:
                self._views.clear()
            first = _header(self.size) + key[0] * SLOT_BYTES + start * dtype.itemsize
            last = first + count * dtype.itemsize
            views = self._views[key] = [segment[first:last].view(dtype) for segment in self._segments]
        return views

    def addresses(self) -> Sequence[int]:
        """Where those slots begin: what is only copied costs a small message less by its address than as a view."""
        return self._addresses[(self._phase + 1) % 2]

    def publish(self, code: int) -> Condition:
        """Say that this rank has written its slot of the next phase; returns that all have. `code` is the same on all
        ranks: what is done, and how much of it."""
        self._phase += 1
        self._codes[self.index][self._phase % 2][0] = code
        self._own_phase[0] = self._phase
        return Condition(self._phases_of_others, self._phase, self._others)

    def require(self, code: int) -> None:
        """Raises PeerLost where another rank does something else in this phase."""
        for place, codes in enumerate(self._codes):
            if codes[self._phase % 2][0] != code:
                raise PeerLost(
                    f"rank {self._members[place].rank} takes part in another collective than this rank: "
                    f"{_told(codes[self._phase % 2][0])} there, {_told(code)} here"
                )

    def rank_at(self, place: int) -> int:
        """The number in the world of the rank at a place."""
        return self._members[place].rank

    def part(self, place: int, start: int, size: int) -> torch.Tensor:
        """Bytes of a rank's segment, after its header and slots."""
        first = _header(self.size) + 2 * SLOT_BYTES + start
        return self._segments[place][first : first + size]

    def counter(self, place: int, number: int) -> memoryview:
        """A rank's counter `number`, beside its phase and codes, and what else stands in its cache lines."""
        at = _LINE * (3 + number)
        return self._words[place][at : at + _LINE]

    def _look(self, seconds: float, needed: Awaited) -> None:
        """Is there still hope? `needed` was not met for so long."""
        for member in (self._members[place] for place in needed.missing):
            state = process_state(member.process, member.began)
            if state is None:
                raise PeerLost(f"rank {member.rank} has died: its process {member.process} is gone")
            if state == "T" and seconds > _STOPPED_SECONDS:
                raise PeerLost(f"rank {member.rank} hangs: its process {member.process} has been stopped")
            if seconds > self._patience:
                raise PeerLost(f"rank {member.rank} hangs: it has not come for {seconds:.0f} s")


def _header(ranks: int) -> int:
    """Bytes before the slots: whole pages."""
    return -(-(3 + 2 * ranks) * _LINE * 8 // 4096) * 4096


def words(memory: torch.Tensor) -> memoryview:
    """Bytes of a segment as int64, each of which is written and read at once."""
    numbers: Any = memory.view(torch.int64).numpy()  # its type does not say that it is a buffer
    return memoryview(numbers)


def located(flat: torch.Tensor) -> tuple[int, int]:
    """Where the bytes of a tensor begin, and how many they are. Raises ValueError where there are others between."""
    if not flat.is_contiguous():
        raise ValueError(f"a tensor of shape {tuple(flat.shape)} and strides {flat.stride()} is not contiguous")
    return flat.data_ptr(), flat.nbytes


def _told(code: int) -> str:
    kind, size = code >> SIZE_BITS, code & (1 << SIZE_BITS) - 1
    return f"{KINDS[kind - 1]} of {size:,} bytes"

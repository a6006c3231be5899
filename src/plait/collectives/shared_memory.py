"""Collectives between ranks of one host, through memory that they share; each is a generator over an arena's phases.

    all-reduce of little          write all of it                  │ read: sum everybody's
    all-reduce                    write what others will sum       │ read: sum one's own slice
                                  write the sum of one's own slice │ read: the others' sums

What is larger than a slot goes through it in pieces, which stay in the processor's cache on their way. Sums are taken
in rank order, whichever way: results are equal on all ranks to the bit. What is only copied goes by its address. What
lies in memory that all see is the matter of `shared_buffers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import memmove
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from plait.collectives.arena import SLOT_BYTES, Arena, located
from plait.collectives.mail import Mail
from plait.collectives.phases import (
    ALL_GATHER,
    ALL_REDUCE,
    ALL_TO_ALL,
    BROADCAST,
    REDUCE_SCATTER,
    Combine,
    bounds,
    combined,
    phase,
)
from plait.collectives.progress import Operation, Queue, Steps
from plait.collectives.shared_buffers import gather_parts, reduce_buffer, reduce_parts, share
from plait.collectives.wire import Buffer, Combination, Exchange, Parts, Started, Transfer, Work

__all__ = ["SharedMemory"]

_WHOLE = 1 << 18  # bytes: of less, everybody sums everything
_COMBINE: dict[str, Combine] = {"sum": torch.add, "max": torch.maximum}


class SharedMemory:
    """The collectives of one group on an arena, as `Wire` has them."""

    in_background = False  # whoever waits does the work

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._mail = {peer: Mail(arena, peer) for peer in arena.others}
        self._shared: WeakValueDictionary[int, Buffer] = WeakValueDictionary()

    @property
    def name(self) -> str:
        """As `Wire`."""
        return "shared-memory"

    def receives_ahead(self, peer: int) -> bool:
        """As `Wire`: nothing goes on by itself."""
        return False

    @property
    def queue(self) -> Queue:
        """What of the group's collectives is under way."""
        return self._arena.queue

    def all_reduce(self, flat: Tensor, operation: Combination) -> Operation:
        """As `Wire`."""
        combine = _COMBINE[operation]
        if flat.nbytes <= _WHOLE:
            return self._start(_reduce_whole(self._arena, flat, combine))
        shared = self._shared.get(flat.data_ptr())
        if shared is not None and shared.own.numel() == flat.numel():
            return self._start(reduce_buffer(self._arena, shared.all, combine))
        return self._start(_reduce_sliced(self._arena, flat, combine))

    def all_gather(self, flat: Tensor, counts: Sequence[int]) -> Started:
        """As `Wire`."""
        results = [flat.new_empty(count) for count in counts]
        return Started(self._start(_all_gather(self._arena, flat, results)), lambda: results)

    def reduce_scatter(self, parts: Sequence[Tensor]) -> Started:
        """As `Wire`."""
        result = torch.empty_like(parts[self._arena.index])
        return Started(self._start(_reduce_scatter(self._arena, parts, result)), lambda: [result])

    def all_to_all(self, parts: Sequence[Tensor], counts: Sequence[int]) -> Started:
        """As `Wire`."""
        results = [parts[0].new_empty(count) for count in counts]
        return Started(self._start(_all_to_all(self._arena, parts, results)), lambda: results)

    def broadcast(self, flat: Tensor, root: int) -> Operation:
        """As `Wire`."""
        return self._start(_broadcast(self._arena, flat, root))

    def exchange(self, transfers: Sequence[Transfer]) -> Exchange:
        """As `Wire`. A send is done when it has left its tensor, which need not be when it has arrived."""
        found: dict[str, list[Work]] = {"send": [], "receive": []}
        for transfer in transfers:
            mail, flat = self._mail[transfer.peer], transfer.tensor.view(-1)
            if transfer.direction == "send":
                found["send"].append(mail.send(flat))
            else:
                found["receive"].append(mail.receive(flat))
        return Exchange(receives=found["receive"], sends=found["send"])

    def buffer(self, count: int, of: torch.dtype) -> Buffer | None:
        """As `Wire`; given back when nobody holds it any more."""
        buffers: list[Tensor] = []
        self._start(share(self._arena, max(count, 1) * of.itemsize, buffers)).wait()
        views = [one.view(of) for one in buffers]
        views[self._arena.index] = views[self._arena.index][:count]  # of nothing there is one, so that it can be mapped
        made = Buffer(views[self._arena.index], views)
        if count:  # nothing has no address
            self._shared[made.own.data_ptr()] = made
        return made

    def all_gather_of(self, buffer: Buffer, counts: Sequence[int]) -> Started:
        """As `Wire`: they are where they are."""
        started = self._start(phase(self._arena, ALL_GATHER | sum(counts) * buffer.own.itemsize))
        return Started(started, lambda: [one[:count] for one, count in zip(buffer.all, counts, strict=True)])

    def reduce_scatter_in(self, buffer: Buffer, parts: Parts) -> Operation:
        """As `Wire`: nothing is copied but the sums."""
        return self._start(reduce_parts(self._arena, buffer, parts[self._arena.index]))

    def all_gather_in(self, buffer: Buffer, parts: Parts) -> Operation:
        """As `Wire`: each rank reads what it lacks where it lies."""
        return self._start(gather_parts(self._arena, buffer, parts))

    def _start(self, steps: Steps) -> Operation:
        return self._arena.queue.start(steps)


def _reduce_whole(arena: Arena, flat: Tensor, combine: Combine) -> Steps:
    slots = arena.slots(flat.dtype, flat.numel())
    slots[arena.index].copy_(flat)
    yield from phase(arena, ALL_REDUCE | flat.nbytes)
    combined(slots, combine, flat)


def _reduce_sliced(arena: Arena, flat: Tensor, combine: Combine) -> Steps:
    for piece in flat.split(SLOT_BYTES // flat.itemsize):
        slices = bounds(piece.numel(), arena.size)
        slots = arena.slots(flat.dtype, piece.numel())
        for place, (start, stop) in enumerate(slices):
            if place != arena.index:
                slots[arena.index][start:stop].copy_(piece[start:stop])
        yield from phase(arena, ALL_REDUCE | flat.nbytes)
        start, stop = slices[arena.index]
        mine = piece[start:stop]
        given = [slot[start:stop] for slot in slots]
        given[arena.index] = mine
        slots = arena.slots(flat.dtype, piece.numel())
        total = slots[arena.index][start:stop]
        combined(given, combine, total)
        mine.copy_(total)
        yield from phase(arena, ALL_REDUCE | flat.nbytes)
        for place, (start, stop) in enumerate(slices):
            if place != arena.index:
                piece[start:stop].copy_(slots[place][start:stop])


def _reduce_scatter(arena: Arena, parts: Sequence[Tensor], result: Tensor) -> Steps:
    room = SLOT_BYTES // arena.size // result.itemsize * result.itemsize  # bytes of a slot for each rank
    sources, own = [located(part) for part in parts], parts[arena.index]
    code, of_room = REDUCE_SCATTER | sum(size for _, size in sources), room // result.itemsize
    for first in range(0, max(size for _, size in sources), room):
        slot = arena.addresses()[arena.index]
        for place, (address, size) in enumerate(sources):
            if place != arena.index:
                memmove(slot + place * room, address + first, _length(size, first, room))
        mine, total = (_cut(whole, first // result.itemsize, of_room) for whole in (own, result))
        pieces = list(arena.slots(result.dtype, total.numel(), arena.index * of_room))
        pieces[arena.index] = mine
        yield from phase(arena, code)
        combined(pieces, torch.add, total)


def _all_gather(arena: Arena, tensor: Tensor, results: Sequence[Tensor]) -> Steps:
    room = SLOT_BYTES // 2  # both slots, the tensor and its results in one cache
    address, size = located(tensor)
    targets = [located(result) for result in results]
    code = ALL_GATHER | sum(size for _, size in targets)
    for first in range(0, max(size for _, size in targets), room):
        slots, own = arena.addresses(), _length(size, first, room)
        memmove(slots[arena.index], address + first, own)
        memmove(targets[arena.index][0] + first, address + first, own)
        yield from phase(arena, code)
        for place in arena.others:
            target, size_there = targets[place]
            memmove(target + first, slots[place], _length(size_there, first, room))


def _broadcast(arena: Arena, flat: Tensor, root: int) -> Steps:
    address, size = located(flat)
    for first in range(0, size, SLOT_BYTES):
        slots, length = arena.addresses(), _length(size, first, SLOT_BYTES)
        if arena.index == root:
            memmove(slots[root], address + first, length)
        yield from phase(arena, BROADCAST | size)
        if arena.index != root:
            memmove(address + first, slots[root], length)


def _all_to_all(arena: Arena, parts: Sequence[Tensor], results: Sequence[Tensor]) -> Steps:
    """Ranks may give different amounts: nobody knows how many pieces the longest has, so that those are told first."""
    longest = torch.tensor([max(part.nbytes for part in parts)])
    yield from _reduce_whole(arena, longest, torch.maximum)
    most, room = int(longest), SLOT_BYTES // arena.size  # bytes
    sources = [located(part) for part in parts]
    targets = [located(result) for result in results]
    for first in range(0, most, room):
        slots = arena.addresses()
        for place, (address, size) in enumerate(sources):
            target = targets[place][0] + first if place == arena.index else slots[arena.index] + place * room
            memmove(target, address + first, _length(size, first, room))
        yield from phase(arena, ALL_TO_ALL | most)
        for place in arena.others:
            target, size = targets[place]
            memmove(target + first, slots[place] + arena.index * room, _length(size, first, room))


def _length(size: int, first: int, room: int) -> int:
    """How much of `size` stands in the piece of at most `room` that begins at `first`; nothing behind its end."""
    return max(0, min(room, size - first))


def _cut(flat: Tensor, first: int, room: int) -> Tensor:
    """That piece of a tensor."""
    return flat if not first and flat.numel() <= room else flat[first : first + room]

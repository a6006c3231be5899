"""Collectives between ranks of one host, through memory that they share; each is a generator over an arena's phases.

    all-reduce of little          write all of it                  │ read: sum everybody's
    all-reduce                    write what others will sum       │ read: sum one's own slice
                                  write the sum of one's own slice │ read: the others' sums
    all-reduce of a buffer        nothing to write                 │ sum one's own slice of all, write it to all
                                  nothing to write                 │ all are done

What is larger than a slot goes through it in pieces, which stay in the processor's cache on their way. Sums are taken
in rank order, whichever way: results are equal on all ranks to the bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from plait.collectives.arena import KINDS, MAIL_BYTES, SIZE_BITS, SLOT_BYTES, Arena, Mail
from plait.collectives.progress import Operation, Queue, Steps
from plait.collectives.segment import attached, created, mapped
from plait.collectives.wire import Buffer, Combination, Exchange, Started, Transfer, Work

__all__ = ["SharedMemory"]

_WHOLE = 1 << 18  # bytes: of less, everybody sums everything
_ALL_REDUCE, _REDUCE_SCATTER, _ALL_GATHER, _BROADCAST, _ALL_TO_ALL, _SHARING = (
    number << SIZE_BITS for number, _ in enumerate(KINDS, start=1)
)

_Combine = Callable[..., Tensor]
_COMBINE: dict[str, _Combine] = {"sum": torch.add, "max": torch.maximum}


class SharedMemory:
    """The collectives of one group on an arena, as `Wire` has them."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._shared: WeakValueDictionary[int, Buffer] = WeakValueDictionary()

    @property
    def name(self) -> str:
        """As `Wire`."""
        return "shared-memory"

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
            return self._start(_reduce_shared(self._arena, shared.all, combine))
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
            mail, flat = self._arena.mail[transfer.peer], transfer.tensor.view(-1)
            if transfer.direction == "send":
                found["send"].append(mail.outgoing.start(_send(mail, flat)))
            else:
                found["receive"].append(mail.incoming.start(_receive(mail, flat)))
        return Exchange(receives=found["receive"], sends=found["send"])

    def buffer(self, count: int, of: torch.dtype) -> Buffer | None:
        """As `Wire`; given back when nobody holds it any more."""
        buffers: list[Tensor] = []
        self._start(_share(self._arena, max(count, 1) * of.itemsize, buffers)).wait()
        views = [one.view(of)[:count] for one in buffers]
        made = Buffer(views[self._arena.index], views)
        self._shared[made.own.data_ptr()] = made
        return made

    def _start(self, steps: Steps) -> Operation:
        return self._arena.queue.start(steps)


def _phase(arena: Arena, code: int) -> Steps:
    """Publish, wait for all, and be sure that all do the same."""
    yield arena.publish(code)
    arena.require(code)


def _reduce_whole(arena: Arena, flat: Tensor, combine: _Combine) -> Steps:
    slots = arena.slots(flat.dtype, flat.numel())
    slots[arena.index].copy_(flat)
    yield from _phase(arena, _ALL_REDUCE | flat.nbytes)
    _combined(slots, combine, flat)


def _reduce_sliced(arena: Arena, flat: Tensor, combine: _Combine) -> Steps:
    for piece in flat.split(SLOT_BYTES // flat.itemsize):
        bounds = _bounds(piece.numel(), arena.size)
        slots = arena.slots(flat.dtype, piece.numel())
        for place, (start, stop) in enumerate(bounds):
            if place != arena.index:
                slots[arena.index][start:stop].copy_(piece[start:stop])
        yield from _phase(arena, _ALL_REDUCE | flat.nbytes)
        start, stop = bounds[arena.index]
        mine = piece[start:stop]
        given = [slot[start:stop] for slot in slots]
        given[arena.index] = mine
        slots = arena.slots(flat.dtype, piece.numel())
        total = slots[arena.index][start:stop]
        _combined(given, combine, total)
        mine.copy_(total)
        yield from _phase(arena, _ALL_REDUCE | flat.nbytes)
        for place, (start, stop) in enumerate(bounds):
            if place != arena.index:
                piece[start:stop].copy_(slots[place][start:stop])


def _reduce_shared(arena: Arena, buffers: Sequence[Tensor], combine: _Combine) -> Steps:
    code = _ALL_REDUCE | buffers[0].nbytes
    yield from _phase(arena, code)
    start, stop = _bounds(buffers[0].numel(), arena.size)[arena.index]
    step = SLOT_BYTES // buffers[0].itemsize
    for first in range(start, stop, step):
        pieces = [buffer[first : min(first + step, stop)] for buffer in buffers]
        _combined(pieces, combine, pieces[0])
        for piece in pieces[1:]:
            piece.copy_(pieces[0])
    yield from _phase(arena, code)


def _reduce_scatter(arena: Arena, parts: Sequence[Tensor], result: Tensor) -> Steps:
    room = SLOT_BYTES // arena.size // result.itemsize
    size = sum(part.nbytes for part in parts)
    for first in range(0, max(part.numel() for part in parts), room):
        given = [part[first : first + room] for part in parts]
        slots = arena.slots(result.dtype, arena.size * room)
        for place, piece in enumerate(given):
            if place != arena.index:
                slots[arena.index][place * room : place * room + piece.numel()].copy_(piece)
        yield from _phase(arena, _REDUCE_SCATTER | size)
        count = given[arena.index].numel()
        at = arena.index * room
        pieces = [slot[at : at + count] for slot in slots]
        pieces[arena.index] = given[arena.index]
        _combined(pieces, torch.add, result[first : first + count])


def _all_gather(arena: Arena, tensor: Tensor, results: Sequence[Tensor]) -> Steps:
    room = SLOT_BYTES // tensor.itemsize
    size = sum(result.nbytes for result in results)
    for first in range(0, max(result.numel() for result in results), room):
        own = tensor[first : first + room]
        slots = arena.slots(tensor.dtype, room)
        slots[arena.index][: own.numel()].copy_(own)
        results[arena.index][first : first + room].copy_(own)
        yield from _phase(arena, _ALL_GATHER | size)
        for place, result in enumerate(results):
            if place != arena.index:
                piece = result[first : first + room]
                piece.copy_(slots[place][: piece.numel()])


def _broadcast(arena: Arena, flat: Tensor, root: int) -> Steps:
    for piece in flat.split(SLOT_BYTES // flat.itemsize):
        slots = arena.slots(flat.dtype, piece.numel())
        if arena.index == root:
            slots[root].copy_(piece)
        yield from _phase(arena, _BROADCAST | flat.nbytes)
        if arena.index != root:
            piece.copy_(slots[root])


def _all_to_all(arena: Arena, parts: Sequence[Tensor], results: Sequence[Tensor]) -> Steps:
    """Ranks may give different amounts: nobody knows how many pieces the longest has, so that those are told first."""
    longest = torch.tensor([max(part.nbytes for part in parts)])
    yield from _reduce_whole(arena, longest, torch.maximum)
    most = int(longest)  # bytes
    room = SLOT_BYTES // arena.size // parts[0].itemsize
    for first in range(0, most // parts[0].itemsize, room):
        slots = arena.slots(parts[0].dtype, arena.size * room)
        for place, part in enumerate(parts):
            piece = part[first : first + room]
            target = (
                results[place][first : first + room] if place == arena.index else slots[arena.index][place * room :]
            )
            target[: piece.numel()].copy_(piece)
        yield from _phase(arena, _ALL_TO_ALL | most)
        at = arena.index * room
        for place, result in enumerate(results):
            if place != arena.index:
                piece = result[first : first + room]
                piece.copy_(slots[place][at : at + piece.numel()])


def _share(arena: Arena, size: int, buffers: list[Tensor]) -> Steps:
    descriptor = created(size)
    try:
        own = mapped(descriptor, size)
        places = arena.slots(torch.int64, 2)
        places[arena.index].copy_(torch.tensor([os.getpid(), descriptor]))
        yield from _phase(arena, _SHARING | size)
        for place, (process, number) in enumerate(slot.tolist() for slot in places):
            buffers.append(own if place == arena.index else attached(process, number, size))
        yield from _phase(arena, _SHARING | size)  # all have attached
    finally:
        os.close(descriptor)


def _send(mail: Mail, flat: Tensor) -> Steps:
    for piece in flat.split(MAIL_BYTES // flat.itemsize):
        number = mail.sent[0] + 1
        yield mail.room_for(number)
        mail.out(number)[: piece.nbytes].view(piece.dtype).copy_(piece)
        mail.sent[0] = number


def _receive(mail: Mail, flat: Tensor) -> Steps:
    for piece in flat.split(MAIL_BYTES // flat.itemsize):
        number = mail.taken[0] + 1
        yield mail.there(number)
        piece.copy_(mail.into(number)[: piece.nbytes].view(piece.dtype))
        mail.taken[0] = number


def _combined(pieces: Sequence[Tensor], combine: _Combine, result: Tensor) -> None:
    """All pieces combined, in rank order, into `result`, which may be the first of them."""
    combine(pieces[0], pieces[1], out=result)
    for piece in pieces[2:]:
        combine(result, piece, out=result)


def _bounds(count: int, size: int) -> list[tuple[int, int]]:
    """Equal slices of `count` elements, whole cache lines where there are enough."""
    step = -(-count // size // 16) * 16 if count >= 16 * size else -(-count // size)
    return [(min(place * step, count), min((place + 1) * step, count)) for place in range(size)]

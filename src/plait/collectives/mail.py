"""Messages between two ranks of an arena, each way through a ring of slots in the sender's segment.

    sender ─►  │ 7 │ 8 │ 9 │   │ … │  ─► receiver        parts of messages, in their order
                taken ▲   ▲ sent

A message goes in parts, so that the receiver reads one while the sender writes the next; a sender is done when all of
its parts have found a slot. Whenever everything has been taken the sender begins anew, with the first slot and the
second in turn: what was just written and read there is still in the processor's cache, and not the peer's alone.

As all flags are (`arena`), these are plain stores that x86's processors show to others in their order: a part, and the
number that stands in the first slot, before the number of the part that tells of both. What stands in the first slot
changes only when all has been taken; nobody then reads by the old number, for a receiver says that it has taken a part
after it has read it, and looks where the next one lies only after it has been told of it.

Beside each part stands how long its whole message is: who waits for one of another length is told so, and takes
nothing. Two ranks that don't agree any more can't go on.

Bytes are copied by their addresses: views of a slot would cost a small message more than its copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import memmove

from torch import Tensor

from plait.collectives.arena import MAIL_BYTES, Arena, located, words
from plait.collectives.progress import Condition, Operation, Steps
from plait.errors import PeerLost

__all__ = ["Mail"]

_PART_BYTES = 1 << 17
_SLOTS = MAIL_BYTES // _PART_BYTES - 1  # what one would take has the lengths


class Mail:
    """Messages from this rank to `peer` and back. Sends go in their order, and so do receives."""

    def __init__(self, arena: Arena, peer: int) -> None:
        size, index = arena.size, arena.index
        self._arena, self._peer = arena, peer
        self._outgoing, self._incoming = arena.new_queue(), arena.new_queue()
        # of each: the number of the last part, and, beside what was sent, the number of that in the first slot
        self._sent, self._taken = arena.counter(index, peer), arena.counter(index, size + peer)
        self._sent_by_peer, self._taken_by_peer = arena.counter(peer, index), arena.counter(peer, size + index)
        out, into = arena.part(index, peer * MAIL_BYTES, MAIL_BYTES), arena.part(peer, index * MAIL_BYTES, MAIL_BYTES)
        self._out, self._in = out.data_ptr(), into.data_ptr()  # the arena holds both
        lengths = slice(_SLOTS * _PART_BYTES, None)  # by slot, of a part's message
        self._lengths, self._lengths_of_peer = words(out[lengths]), words(into[lengths])

    def send(self, flat: Tensor) -> Operation:
        """Done when nothing of `flat` is needed any more."""
        return self._outgoing.start(self._send(flat))

    def receive(self, flat: Tensor) -> Operation:
        """Done when `flat` has come. Raises PeerLost, here or in its wait, where what comes is not as long."""
        return self._incoming.start(self._receive(flat))

    def _send(self, flat: Tensor) -> Steps:
        address, whole = located(flat)
        for start, size in _parts(whole):
            number = self._sent[0] + 1
            if self._taken_by_peer[0] < number - _SLOTS:
                yield Condition([self._taken_by_peer], number - _SLOTS, [self._peer])
            if self._taken_by_peer[0] == number - 1:
                self._sent[1] = number - number % 2
            place = (number - self._sent[1]) % _SLOTS
            self._lengths[place] = whole
            memmove(self._out + place * _PART_BYTES, address + start, size)
            self._sent[0] = number

    def _receive(self, flat: Tensor) -> Steps:
        address, whole = located(flat)
        for start, size in _parts(whole):
            number = self._taken[0] + 1
            if self._sent_by_peer[0] < number:
                yield Condition([self._sent_by_peer], number, [self._peer])
            place = (number - self._sent_by_peer[1]) % _SLOTS
            if self._lengths_of_peer[place] != whole:
                raise self._mistaken(self._lengths_of_peer[place], whole)
            memmove(address + start, self._in + place * _PART_BYTES, size)
            self._taken[0] = number

    def _mistaken(self, sent: int, expected: int) -> PeerLost:
        rank = self._arena.rank_at(self._peer)
        return PeerLost(
            f"rank {rank} sends another message than this rank waits for: {sent:,} bytes there, {expected:,} bytes here"
        )


def _parts(size: int) -> Iterator[tuple[int, int]]:
    """Start and size of each part of a message; one, where it is empty."""
    for start in range(0, max(size, 1), _PART_BYTES):
        yield start, min(_PART_BYTES, size - start)

"""The ranks that sum step by step, and what passes between two of them: sends and receives of a gloo group.

    places in the group      0   1   2   3   4   5
    these peers                  0       1       2      `places` = (1, 3, 5)

A send has started when the call returns, and waits for no receive; steps go in their order on a line of their own, with
a tag of their own, so that what the program sends meanwhile is not taken for theirs. A peer that is lost is named.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from torch import Tensor

from plait.collectives.background import Line
from plait.collectives.c10d import C10d
from plait.collectives.wire import Transfer, Work
from plait.errors import PeerLost

__all__ = ["CHUNK_BYTES", "Peers", "chunks"]

CHUNK_BYTES = 1 << 18  # large enough that a message costs little beside it; adding one stays in the cache
_AHEAD = 4  # receives that are asked for before they are needed
_SILENT, _GONE = "Timed out", ("Connection reset", "Connection closed", "Broken pipe", "Connection refused")


def chunks(flat: Tensor) -> tuple[Tensor, ...]:
    """The pieces in which a tensor travels: views, none of an empty one."""
    return flat.split(max(CHUNK_BYTES // flat.itemsize, 1)) if flat.numel() else ()


class Peers:
    """Those at `places` of a group (all, if left out), of which this rank is one. Who steps among the same two ranks
    shares this object, and so its line, or takes another tag."""

    def __init__(self, over: C10d, places: Sequence[int] | None = None, *, tag: int = 1) -> None:
        self.over, self.line = over, Line()
        self.places = tuple(range(len(over.ranks)) if places is None else places)
        self.index, self.size = self.places.index(over.index), len(self.places)
        assert self.size > 1, "a rank alone has nobody to sum with"
        self._steps = over.tagged(tag)

    def send(self, tensor: Tensor, peer: int) -> Work:
        """Start to send it; it may not be written before the work's end."""
        return self._passed(Transfer(direction="send", tensor=tensor, peer=self.places[peer]))

    def receive(self, tensor: Tensor, peer: int) -> Work:
        """Start to receive into it."""
        return self._passed(Transfer(direction="receive", tensor=tensor, peer=self.places[peer]))

    def arriving(
        self, targets: Sequence[Tensor], peer: int, room: Callable[[int, Tensor], Tensor]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(target, what came for it) in their order; each is received into `room(number, target)`, which may be the
        target. While one is worked on, those after it arrive; the first are asked for at once, which spares what is
        sent to this rank a round trip."""
        rest = enumerate(targets)
        under_way: deque[tuple[Tensor, Tensor, Work]] = deque()

        def ask(most: int) -> None:
            for number, target in islice(rest, most):
                landing = room(number, target)
                under_way.append((target, landing, self.receive(landing, peer)))

        def come() -> Iterator[tuple[Tensor, Tensor]]:
            while under_way:
                target, landing, work = under_way.popleft()
                work.wait()
                ask(1)
                yield target, landing

        ask(_AHEAD)
        return come()

    def _passed(self, transfer: Transfer) -> Work:
        rank = self.over.ranks[transfer.peer]
        try:
            return _Named(self._steps.exchange([transfer]), rank)
        except RuntimeError as error:
            raise _lost(rank, error) from error


class _Named:
    """A transfer under way, with a rank that can be told to be lost."""

    def __init__(self, work: Work, rank: int) -> None:
        self._work, self._rank = work, rank

    def wait(self) -> None:
        try:
            self._work.wait()
        except RuntimeError as error:
            raise _lost(self._rank, error) from error


def _lost(rank: int, error: RuntimeError) -> Exception:
    """gloo has no kinds of errors, only words."""
    words = str(error)
    if any(gone in words for gone in _GONE):
        return PeerLost(f"rank {rank} has died, or given up: its connection is closed")
    if _SILENT in words:
        return PeerLost(f"rank {rank} hangs, or waits for a rank that does: it has not come in time ({words})")
    return error

"""A group's sends and receives for threads that work beside the program: gloo's, which any thread may wait for.

    the program   ── collectives of the group's wire, in one order on all ranks ──►
    threads       ── sends and receives here, whenever they come                ──►

What waits here sleeps in the kernel and holds no lock of the interpreter, so that computing goes on. It is a process
group of its own: nothing of it meets what the program sends. gloo notices a peer that dies and not one that is stopped:
who waits looks now and then (`Vigil`), where the group's ranks stand on one host and can be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch.distributed as dist

from plait.collectives.background import Line
from plait.collectives.c10d import C10d
from plait.collectives.process_groups import Group, Mesh, patience
from plait.collectives.progress import NAP_SECONDS, drive_others
from plait.collectives.shared_memory import SharedMemory
from plait.collectives.wire import Work
from plait.launchers.stopwatch import Stopwatch

__all__ = ["VIGIL_SECONDS", "Vigil", "beside"]

VIGIL_SECONDS = 0.5  # between two looks of a thread beside the program

# by the world that they were made in, and their ranks
_made: dict[tuple[dist.ProcessGroup | None, tuple[int, ...]], Any] = {}


def beside(mesh: Mesh, axis: str) -> C10d | None:
    """This rank's group along an axis; None for a rank that is alone. Every rank of the mesh calls it."""
    found: C10d | None = None
    for ranks in mesh.shape.groups(axis):
        if len(ranks) == 1:
            continue
        key = (dist.group.WORLD, ranks)
        if key not in _made:
            _made[key] = dist.new_group(list(ranks), timeout=patience(), backend="gloo")
        if mesh.rank in ranks:
            found = C10d(_made[key], ranks, ranks.index(mesh.rank))
    return found


class Vigil:
    """One rank's waits for what passes beside its program, with a look at those that it comes from."""

    def __init__(self, group: Group) -> None:
        self._queue = group.wire.queue if isinstance(group.wire, SharedMemory) else None
        self._line = Line()

    def wait(self, work: Work, place: int) -> None:
        """Return when it is done; what rests of other groups is driven meanwhile. Raises PeerLost where the rank at
        `place` is gone, or stopped, and what the work raises."""
        task, watch, looked = self._line.start(work.wait), Stopwatch(), 0.0
        while not task.ended(NAP_SECONDS if drive_others() else VIGIL_SECONDS):
            seconds = watch.seconds()
            if seconds - looked >= VIGIL_SECONDS:
                looked = seconds
                self.look(seconds, [place])
        task.wait()

    def look(self, seconds: float, places: Sequence[int]) -> None:
        """Those at `places` have been waited for so long. Raises PeerLost where one of them is gone, or stopped."""
        if self._queue is not None:
            self._queue.look(seconds, _Missing(places))


class _Missing(NamedTuple):
    """As `Awaited`: ranks that have not brought about what is waited for."""

    missing: Sequence[int]
    met: bool = False

"""A group's sends and receives for threads that work beside the program: gloo's, which any thread may wait for.

    the program   ── collectives of the group's wire, in one order on all ranks ──►
    threads       ── sends and receives here, whenever they come                ──►

What waits here sleeps in the kernel and holds no lock of the interpreter, so that computing goes on. It is a process
group of its own: nothing of it meets what the program sends.
"""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

from plait.collectives.c10d import C10d
from plait.collectives.process_groups import Mesh, patience

__all__ = ["beside"]

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

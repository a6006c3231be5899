"""What the tests of wires that go step by step have in common: the wires by name, and gloo on the same ranks."""

from __future__ import annotations

import torch
import torch.distributed as dist

from plait.collectives.c10d import C10d
from plait.collectives.halving_doubling import HalvingDoubling
from plait.collectives.peers import Peers
from plait.collectives.ring import Ring
from plait.collectives.stepwise import Stepwise
from tests.collectives.drawn import drawn

WIRES: dict[str, type[Stepwise]] = {"ring": Ring, "halving-doubling": HalvingDoubling}


def gloo() -> C10d:
    """All ranks of the pool."""
    world = dist.group.WORLD
    assert world is not None
    return C10d(world, range(dist.get_world_size()), dist.get_rank())


def both(name: str) -> tuple[Stepwise, C10d]:
    """A wire among all ranks of the pool, and its oracle."""
    return WIRES[name](Peers(gloo())), gloo()


def sums_are_gloo_s(wire, oracle, counts, operation):
    """Of each count, whether a wire's all-reduce of whole numbers is gloo's, to the bit."""
    found = []
    for count in counts:
        ours = drawn(dist.get_rank(), count).abs()
        theirs = ours.clone()
        wire.all_reduce(ours, operation).wait()
        oracle.all_reduce(theirs, operation).wait()
        found.append(torch.equal(ours, theirs))
    return found

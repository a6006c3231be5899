"""A grid so small that a whole profile takes a second: for tests of what is measured, not of how fast it is."""

from __future__ import annotations

from plait.devices.grid import Grid

__all__ = ["TINY"]

TINY = Grid(
    dims=(8, 64),
    coarse_dims=(64,),
    most_multiplications=64**3,
    sequences=(16,),
    head_dims=(8,),
    elements=(2**13,),
    copied_bytes=2**20,
    parameters=((2, 2**10),),
    payloads=(2**10, 2**16),
    operation_seconds=0.05,
    contention_seconds=0.02,
    link_seconds=0.05,
)

"""What offload does in a step, as far as its price and its performance have to agree: one place for both.

    out       gradient a │ gradient b │ gradient c        batches of at most BATCH_BYTES, or one tensor
    update               │     a      │     b      │     c
    back                              │  weight a  │  weight b  │  weight c

`training.masters` performs it; `planner` and `estimates` price it.
"""

from __future__ import annotations

__all__ = ["BATCH_BYTES", "HOST_RATE"]

BATCH_BYTES = 16 * 2**20  # of gradients that leave together: a way out or back of a millisecond
HOST_RATE = 10e9  # bytes a second that a rank's update reads and writes in the memory of a device's host: assumed

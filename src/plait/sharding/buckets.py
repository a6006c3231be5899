"""Bucket boundaries: which gradients travel together along the data axis. A pure function of sizes.

Backward gives gradients from the last weight to the first, so that buckets are filled in that order, and the first one
can start while backward still runs:

    weights    w0  w1  w2  w3  w4  w5
    buckets   [  2   ][    1     ][0 ]      ◄── backward
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["bucket_boundaries"]


def bucket_boundaries(sizes: Sequence[int], bucket_bytes: int) -> tuple[tuple[int, ...], ...]:
    """Indices of `sizes` (bytes, in forward order) in each bucket, in the order in which backward fills them.

    A bucket closes before it would exceed `bucket_bytes`; a gradient larger than that has a bucket to itself.
    """
    buckets: list[tuple[int, ...]] = []
    filling: list[int] = []
    for index in reversed(range(len(sizes))):
        if filling and sum(sizes[i] for i in filling) + sizes[index] > bucket_bytes:
            buckets.append(tuple(filling))
            filling = []
        filling.append(index)
    if filling:
        buckets.append(tuple(filling))
    return tuple(buckets)

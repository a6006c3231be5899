"""Buckets: which gradients travel together along the data axis, and how large a bucket should be. Pure functions.

Backward gives gradients from the last weight to the first, so that buckets are filled in that order, and the first one
can start while backward still runs:

    weights    w0  w1  w2  w3  w4  w5
    buckets   [  2   ][    1     ][0 ]      ◄── backward
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log2, sqrt

__all__ = ["MOST_BUCKET_BYTES", "best_bucket_bytes", "bucket_boundaries"]

_MOST_EXPOSED = 0.9  # no measurement of it is exact enough to say that hiding is in vain
_LEAST = 2**16  # bytes: below, messages are all latency on any link
MOST_BUCKET_BYTES = 2**28  # above, nothing is gained any more


def bucket_boundaries(sizes: Sequence[int], bucket_bytes: int) -> tuple[tuple[int, ...], ...]:
    """Indices of `sizes` (bytes, in forward order) in each bucket, in the order in which backward fills them.

    A bucket closes before it would exceed `bucket_bytes`; a gradient larger than that has a bucket to itself.
    """
    buckets: list[tuple[int, ...]] = []
    filling: list[int] = []
    filled = 0
    for index in reversed(range(len(sizes))):
        if filling and filled + sizes[index] > bucket_bytes:
            buckets.append(tuple(filling))
            filling, filled = [], 0
        filling.append(index)
        filled += sizes[index]
    if filling:
        buckets.append(tuple(filling))
    return tuple(buckets)


def best_bucket_bytes(
    gradient_bytes: float,
    *,
    alpha: float,
    bytes_per_second: float,
    backward_seconds: float,
    exposed: float = 0.0,
    most: int = MOST_BUCKET_BYTES,
) -> int:
    """How large the buckets of `gradient_bytes` should be: a power of two, from 64 KiB to `most`.

    A bucket of b bytes is summed in alpha + b / B seconds. Backward makes all G bytes in T seconds, evenly, and hides
    what travels meanwhile, but for a part `exposed` = s of it (who moves bytes may take the core from who computes).
    Latency is paid for by each bucket, and hidden by none: most of it is software. What a step takes longer:

        G/B ≤ T   the last bucket stands after backward    E(b) = alpha G/b + s (G - b)/B + b/B
        G/B > T   the link never rests, once the first     E(b) = alpha G/b + s T (1 - b/G) + (G/B - T) + T b/G
                  bucket is there, after T b/G

    E'(b) = 0 at b² = alpha G · max(B, G/T) / (1 - s): for s = 0 and a quick link the classic sqrt(alpha B G) of a
    message that goes in pieces through a pipeline. One bucket takes all where two halves are no better, b² ≥ G²/2. Of
    s, 0.9 is believed at most: beyond it a little noise would be the difference between a few buckets and one. (Li et
    al., "PyTorch Distributed", VLDB 2020, have the trade, and leave the size to trial.)
    """
    if gradient_bytes <= 0:
        return _LEAST
    drained = max(bytes_per_second, gradient_bytes / backward_seconds if backward_seconds > 0 else inf)
    best = sqrt(alpha * gradient_bytes * drained / (1 - min(exposed, _MOST_EXPOSED)))
    all_in_one = 2 ** (int(gradient_bytes) - 1).bit_length() if gradient_bytes > 1 else 1
    rounded = all_in_one if 2 * best**2 >= gradient_bytes**2 else 2 ** round(log2(max(best, 1.0)))
    return max(_LEAST, min(rounded, most))

"""Which shapes and sizes a profile visits: spaced evenly in the logarithm, so that what lies between is interpolated.

    tokens, features    16   64   256   1024   4096          the sides of a matrix product, each with each
    elements            16 Ki     128 Ki     1 Mi     4 Mi    in one core's cache, in the shared one, in neither
    payloads            1 KiB ... 16 MiB                      latency alone, ..., bandwidth alone

It is data; the time each family may take stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Grid"]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Sizes to visit, and `seconds` to spend on the operations and on the links of each number of ranks.

    `dims`: sides of a product in the first dtype, `coarse_dims` in every further one; a product of more than
    `most_multiplications` is left out, its neighbours say enough. `payloads` in bytes.
    """

    dims: tuple[int, ...] = (16, 64, 256, 1024, 4096)
    coarse_dims: tuple[int, ...] = (64, 256)
    most_multiplications: int = 2**28
    sequences: tuple[int, ...] = (64, 256, 1024)
    head_dims: tuple[int, ...] = (32, 64, 128)
    elements: tuple[int, ...] = (2**14, 2**17, 2**20, 2**22)
    copied_bytes: int = 2**26
    parameters: tuple[tuple[int, int], ...] = ((16, 2**16), (64, 2**20), (64, 2**23))  # (tensors, elements in all)
    payloads: tuple[int, ...] = (2**10, 2**14, 2**18, 2**20, 2**22, 2**24)
    operation_seconds: float = 7.0
    contention_seconds: float = 0.8  # of who works alone, as long of all together, and of their speeds
    link_seconds: float = 3.0

"""Which all-reduce is cheapest: the textbook's costs of each, a pure function of sizes and of the link.

    n bytes, p ranks, a seconds before a message's first byte (alpha), b seconds a byte (beta)

    doubling           lg p · a + lg p · n b                            all of it to a partner, lg p times
    halving-doubling   2 lg p · a + 2 (p-1)/p · n b                     halves, then doubles
    ring               2 (p-1) · a + 2 (p-1)/p · n b
    the first two, where p is no power of two: lg and p are those of the largest power below it, and
                       + 2 a + 2 n b                                    the ranks beyond it fold in, and get the result

Thakur, Rabenseifner, Gropp: Optimization of Collective Communication Operations in MPICH, 2005, section 4.5; the
arithmetic, the same for the two that matter when it does, is left out. It knows numbers; it must not know wires.
"""

from __future__ import annotations

from math import inf
from typing import Literal

__all__ = ["ALGORITHMS", "Algorithm", "cheapest_all_reduce", "hierarchical_seconds", "seconds_of_all_reduce"]

Algorithm = Literal["doubling", "halving-doubling", "ring"]
ALGORITHMS: tuple[Algorithm, ...] = ("doubling", "halving-doubling", "ring")


def seconds_of_all_reduce(
    algorithm: Algorithm, size: float, ranks: int, *, alpha: float, bytes_per_second: float
) -> float:
    """The formula above, for `size` bytes on each of `ranks` ranks; `alpha` in seconds. Nothing for one rank alone."""
    if ranks == 1:
        return 0.0
    beta = 1 / bytes_per_second
    if algorithm == "ring":
        return 2 * (ranks - 1) * alpha + 2 * (ranks - 1) / ranks * size * beta
    steps = ranks.bit_length() - 1
    active = 1 << steps
    folding = 2 * alpha + 2 * size * beta if active < ranks else 0.0
    if algorithm == "doubling":
        return steps * (alpha + size * beta) + folding
    return 2 * steps * alpha + 2 * (active - 1) / active * size * beta + folding


def cheapest_all_reduce(size: float, ranks: int, *, alpha: float, bytes_per_second: float) -> Algorithm:
    """The one of least seconds; of equals the one that stands first in ALGORITHMS."""
    return min(
        ALGORITHMS,
        key=lambda one: seconds_of_all_reduce(one, size, ranks, alpha=alpha, bytes_per_second=bytes_per_second),
    )


def hierarchical_seconds(
    size: float, hosts: int, ranks_a_host: int, *, alpha: float, bytes_per_second: float, inside: float = inf
) -> float:
    """Two levels: reduce-scatter and all-gather of `inside` bytes per second on each host, and across the cheapest
    all-reduce of a slice for each rank of a host, which share its link of `bytes_per_second`."""
    within = 2 * (ranks_a_host - 1) / ranks_a_host * size / inside
    slice_, share = size / ranks_a_host, bytes_per_second / ranks_a_host
    chosen = cheapest_all_reduce(slice_, hosts, alpha=alpha, bytes_per_second=share)
    return within + seconds_of_all_reduce(chosen, slice_, hosts, alpha=alpha, bytes_per_second=share)

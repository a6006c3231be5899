"""Which all-reduce a group takes, and what it costs: one pure function of sizes and of the link, for planner and wire.

    ranks of the group on each host    algorithm
    all on one                         the wire's own: shared memory, NCCL                     (measured, not told here)
    one on each of h                   gloo's own ring, or one of ours, whichever is cheapest
    several on some                    in two levels: inside, and of each slice across the cheapest of ours

    n bytes, p ranks, a seconds before a message's first byte (alpha), b seconds a byte (beta)

    doubling           lg p · a + lg p · n b                            all of it to a partner, lg p times
    halving-doubling   2 lg p · a + 2 (p-1)/p · n b                     halves, then doubles
    ring, gloo's too   2 (p-1) · a + 2 (p-1)/p · n b
    the first two, where p is no power of two: lg and p are those of the largest power below it, and
                       + 2 a + 2 n b                                    the ranks beyond it fold in, and get the result

Thakur, Rabenseifner, Gropp: Optimization of Collective Communication Operations in MPICH, 2005, section 4.5; the
arithmetic, the same for the two that matter when it does, is left out. A step of ours is Python, and takes its time
beside the link's. It knows numbers; it must not know wires.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from plait.specs.links import LinkSpeed

__all__ = [
    "ALGORITHMS",
    "OURS",
    "PIECE_BYTES",
    "RING_GATHER_BYTES",
    "STEP_SECONDS",
    "Algorithm",
    "across_seconds",
    "algorithm_between",
    "cheapest_all_reduce",
    "pieces",
    "seconds_of_all_reduce",
    "shared",
]

Algorithm = Literal["gloo", "doubling", "halving-doubling", "ring"]
ALGORITHMS: tuple[Algorithm, ...] = ("gloo", "doubling", "halving-doubling", "ring")
OURS: tuple[Algorithm, ...] = ALGORITHMS[1:]
STEP_SECONDS = 2e-4  # of a step of ours: a ring of 4 KB beside gloo's (benchmarks/wires_between_hosts.py)
RING_GATHER_BYTES = 1 << 19  # a rank's part in an all-gather, from which a ring of chunks beats gloo's whole parts
PIECE_BYTES = 1 << 22  # in two levels: while one crosses, the next is summed inside


def seconds_of_all_reduce(algorithm: Algorithm, size: float, ranks: int, link: LinkSpeed) -> float:
    """The formula above, for `size` bytes on each of `ranks` ranks. Nothing for one rank alone."""
    if ranks == 1:
        return 0.0
    beta = 1 / link.bytes_per_second
    alpha = link.alpha + (0.0 if algorithm == "gloo" else STEP_SECONDS)
    if algorithm in ("ring", "gloo"):
        return 2 * (ranks - 1) * alpha + 2 * (ranks - 1) / ranks * size * beta
    steps = ranks.bit_length() - 1
    active = 1 << steps
    folding = 2 * alpha + 2 * size * beta if active < ranks else 0.0
    if algorithm == "doubling":
        return steps * (alpha + size * beta) + folding
    return 2 * steps * alpha + 2 * (active - 1) / active * size * beta + folding


def cheapest_all_reduce(size: float, ranks: int, link: LinkSpeed, among: Sequence[Algorithm] = ALGORITHMS) -> Algorithm:
    """The one of least seconds; of equals the one that stands first."""
    return min(among, key=lambda one: seconds_of_all_reduce(one, size, ranks, link))


def shared(link: LinkSpeed, by: int) -> LinkSpeed:
    """What each of so many that use a link at once has of it."""
    return LinkSpeed(alpha=link.alpha, bytes_per_second=link.bytes_per_second / by)


def algorithm_between(size: float, hosts: Sequence[int], link: LinkSpeed) -> Algorithm:
    """What goes between the hosts for an all-reduce of `size` bytes, or of one piece of it: `hosts` has how many ranks
    of the group stand on each. In two levels it is that of a slice, as many of which cross at once as the smallest host
    has ranks; gloo has no group for these."""
    if max(hosts) == 1:
        return cheapest_all_reduce(size, len(hosts), link)
    slices = min(hosts)
    return cheapest_all_reduce(size / slices, len(hosts), shared(link, slices), OURS)


def pieces(size: float) -> list[float]:
    """The pieces in which two levels take `size` bytes, the last one the smallest; none of nothing."""
    whole = int(size // PIECE_BYTES)
    rest = size - whole * PIECE_BYTES
    return [float(PIECE_BYTES)] * whole + ([rest] if rest else [])


def across_seconds(size: float, hosts: Sequence[int], link: LinkSpeed, groups: int = 1) -> float:
    """Seconds that an all-reduce of `size` bytes spends between the hosts, where so many `groups` cross at once: each
    has its share of the link, and takes the algorithm that it would take alone, as it knows of no other."""
    if max(hosts) == 1:
        return seconds_of_all_reduce(algorithm_between(size, hosts, link), size, len(hosts), shared(link, groups))
    slices = min(hosts)
    crowded = shared(link, groups * slices)
    return sum(
        seconds_of_all_reduce(algorithm_between(piece, hosts, link), piece / slices, len(hosts), crowded)
        for piece in pieces(size)
    )

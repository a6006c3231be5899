"""Do the groups along an axis stand on hosts alike? Only then do sums that go by hosts have one order in all of them.

    data 3 × tensor 2 on two hosts of three         0 1 2 │ 3 4 5
        data groups    0 2 │ 4      pattern 0 0 1           sums host by host: (0 + 2) + 4
                       1 │ 3 5      pattern 0 1 1                              1 + (3 + 5)

What tensor ranks hold alike, and the norm that all clip by, would then differ by a rounding from rank to rank. It knows
numbers of ranks and of hosts, no wire.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["stand_alike"]


def stand_alike(groups: Iterable[Sequence[int]], host: Sequence[int]) -> bool:
    """Whether equal places of all groups of ranks share hosts with equal places. `host`: of each rank."""
    return len({_pattern([host[rank] for rank in group]) for group in groups}) <= 1


def _pattern(hosts: Sequence[int]) -> tuple[int, ...]:
    """Hosts by number, in the order in which they come."""
    numbers = {one: number for number, one in enumerate(dict.fromkeys(hosts))}
    return tuple(numbers[one] for one in hosts)

"""Who is whose counterpart where ranks of several hosts work in two levels: a column has one rank of each host, and all
that lies between two hosts crosses inside a column.

    host A     0   1   2             columns   0: 0 2 │ 3          across: 0 with 3, 1 with 4
    host B     3   4                           1: 1   │ 4          2 has no counterpart: what is for it, or from it,
                                                                   crosses in column 0, and is handed on inside host A

As many columns as the smallest host has ranks; ranks beyond them go by turns with those that have one. It knows places,
no tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Columns"]

_Places = tuple[int, ...]


@dataclass(frozen=True)
class Columns:
    """`hosts`: the places of a group that stand on each; `index`: this rank's."""

    hosts: Sequence[Sequence[int]]
    index: int

    @cached_property
    def number(self) -> int:
        """How many columns there are."""
        return min(len(host) for host in self.hosts)

    @cached_property
    def host(self) -> int:
        """Which of the hosts this rank stands on: its place in a column, too."""
        return next(number for number, host in enumerate(self.hosts) if self.index in host)

    @property
    def here(self) -> Sequence[int]:
        """The places on this rank's host."""
        return self.hosts[self.host]

    @cached_property
    def local(self) -> int:
        """This rank's number on its host."""
        return self.here.index(self.index)

    @property
    def own(self) -> int | None:
        """The number of this rank's column; None where it has no counterparts."""
        return self.local if self.local < self.number else None

    @property
    def handed_on(self) -> bool:
        """Whether this host has ranks that have no counterparts."""
        return len(self.here) > self.number

    @cached_property
    def all(self) -> list[_Places]:
        """The places of each column, host by host."""
        return [tuple(place for host in self.places(column) for place in host) for column in range(self.number)]

    def places(self, column: int) -> list[_Places]:
        """By host, those for whom something crosses in a column."""
        return [tuple(host[column :: self.number]) for host in self.hosts]

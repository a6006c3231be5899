"""Among whom the payloads of compressed sums travel: all of a group; or, where hosts sum first, the ranks at one place
of each host.

    OverGroup     through `functional`, started here and waited for there, noted by the recorder
    OverColumn    step by step, by whoever performs the sum's steps, when it waits
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from plait.collectives.cheapest import Cheapest
from plait.collectives.functional import Handle, all_gather, all_to_all
from plait.collectives.process_groups import Group

__all__ = ["Arriving", "OverColumn", "OverGroup", "Payloads"]


class Arriving(Protocol):
    """A tensor (ranks, bytes) that is on its way."""

    def wait(self) -> Tensor:
        """It, once it is there."""
        ...


class Payloads(Protocol):
    """`size` ranks, of which this is number `index`."""

    @property
    def size(self) -> int: ...

    @property
    def index(self) -> int: ...

    def all_gather(self, payload: Tensor) -> Arriving:
        """Every rank's payload (bytes), by rank."""
        ...

    def all_to_all(self, payloads: Tensor) -> Arriving:
        """Row r of `payloads` (ranks, bytes) to rank r; what every rank had for this one, by rank."""
        ...


@dataclass(frozen=True)
class OverGroup:
    """All of a group."""

    group: Group

    @property
    def size(self) -> int:
        """As `Payloads`."""
        return self.group.size

    @property
    def index(self) -> int:
        """As `Payloads`."""
        return self.group.index

    def all_gather(self, payload: Tensor) -> Handle[Tensor]:
        """As `Payloads`."""
        return all_gather(payload.unsqueeze(0), self.group, 0, self.size)

    def all_to_all(self, payloads: Tensor) -> Handle[Tensor]:
        """As `Payloads`."""
        return all_to_all(payloads, self.group)


@dataclass(frozen=True)
class OverColumn:
    """The counterparts of a rank on other hosts, and itself."""

    across: Cheapest

    @property
    def size(self) -> int:
        """As `Payloads`."""
        return self.across.size

    @property
    def index(self) -> int:
        """As `Payloads`."""
        return self.across.index

    def all_gather(self, payload: Tensor) -> Arriving:
        """As `Payloads`."""
        rows = payload.new_empty((self.size, payload.numel()))
        rows[self.index].copy_(payload)
        return _Due(rows, lambda: self.across.gather_parts(list(rows)))

    def all_to_all(self, payloads: Tensor) -> Arriving:
        """As `Payloads`."""
        rows = payloads.new_empty(payloads.shape)
        return _Due(rows, lambda: self.across.trade(list(payloads), list(rows)))


@dataclass(frozen=True)
class _Due:
    """Rows that steps fill which are taken by who waits, once."""

    rows: Tensor
    steps: Callable[[], object]

    def wait(self) -> Tensor:
        self.steps()
        return self.rows

"""What a plan keeps in the memory of the hosts of a cluster, whether there is room, and what is taken for granted.

    ranks of a host ──sum──> bytes in its memory, of the fullest host of each group

It knows bytes of ranks, and prices none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from plait.plans.offload import HOST_RATE
from plait.specs.catalogue import to_host_of
from plait.specs.machines import Machines
from plait.units import Bytes

__all__ = ["FullestHost", "fullest_hosts", "offload_cautions"]


@dataclass(frozen=True, kw_only=True)
class FullestHost:
    """Of a group of machines the host in whose memory a plan keeps most: the number of its `first_rank`, and the bytes
    that all its ranks keep there; 0 without offload."""

    machines: Machines
    first_rank: int
    held: int

    @property
    def room(self) -> int | None:
        """Bytes that it has; None where the catalogue doesn't know."""
        return self.machines.host_memory_bytes

    @property
    def fill(self) -> float:
        """What part of that is kept; 0 where nobody knows."""
        return self.held / self.room if self.room else 0.0

    @property
    def overflows(self) -> bool:
        """Whether that is known not to be enough."""
        return self.room is not None and self.held > self.room


def fullest_hosts(of_ranks: Sequence[float], groups: Sequence[Machines]) -> tuple[FullestHost, ...]:
    """Of each group the fullest, where each rank keeps so many bytes in its host's memory."""
    return tuple(_fullest(np.array(of_ranks), group) for group in groups)


def _fullest(of_ranks: np.ndarray[tuple[int], np.dtype[np.float64]], group: Machines) -> FullestHost:
    own = of_ranks[group.first_rank : group.first_rank + group.ranks]
    hosts = own.reshape(group.nodes, group.devices_per_node).sum(axis=1)
    place = int(hosts.argmax())
    first_rank = group.first_rank + place * group.devices_per_node
    return FullestHost(machines=group, first_rank=first_rank, held=round(float(hosts[place])))


def offload_cautions(hosts: Sequence[FullestHost]) -> Iterator[str]:
    """What is assumed of an update on the hosts, and the memory that these need; nothing of a plan without."""
    if not any(one.held for one in hosts):
        return
    links = dict.fromkeys(link for one in hosts if (link := to_host_of(one.machines.device)) is not None)
    copies = " and ".join(f"{link.name} at {link.bytes_per_second / 1e9:.0f} GB/s" for link in links)
    yield (
        f"offload was measured on no such host: each rank's update is taken to read and write {HOST_RATE / 1e9:.0f} "
        f"GB/s of its host's memory, and copies to go by {copies} a device; these hide behind the update, and neither "
        "behind forward or backward"
    )
    for one in hosts:
        there = "how much it has, the catalogue doesn't know"
        if one.room is not None:
            there = f"it has {'no more than ' if one.overflows else ''}{Bytes(one.room)}"
        yield f"offload needs {Bytes(one.held)} of the memory of each host with {one.machines.device.name}: {there}"

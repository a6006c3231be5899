"""What offload asks of the hosts of a cluster, and what is taken for granted of them, in words.

    ranks of a host ──sum──> bytes in its memory, of the fullest host of each group

It knows plans that were priced, and prices none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from plait.clusters.played import Played
from plait.plans.offload import HOST_RATE
from plait.specs.catalogue import to_host_of
from plait.specs.machines import Machines
from plait.units import Bytes

__all__ = ["bytes_on_hosts", "offload_cautions"]


def bytes_on_hosts(one: Played, groups: Sequence[Machines]) -> tuple[int, ...]:
    """Of each group the bytes that a plan keeps in the memory of its fullest host; 0 without offload."""
    ranks = np.repeat([held.host for held in one.memory], one.sizes)
    hosts = (
        ranks[group.first_rank : group.first_rank + group.ranks].reshape(group.nodes, group.devices_per_node)
        for group in groups
    )
    return tuple(round(float(each.sum(axis=1).max())) for each in hosts)


def offload_cautions(one: Played, groups: Sequence[Machines]) -> Iterator[str]:
    """What is assumed of an update on the hosts, and the memory that these need; nothing of a plan without."""
    if not one.plan.offloads:
        return
    links = dict.fromkeys(link for group in groups if (link := to_host_of(group.device)) is not None)
    copies = " and ".join(f"{link.name} at {link.bytes_per_second / 1e9:.0f} GB/s" for link in links)
    yield (
        f"offload was measured on no such host: each rank's update is taken to read and write {HOST_RATE / 1e9:.0f} "
        f"GB/s of its host's memory, and copies to go by {copies} a device; these hide behind the update, and neither "
        "behind forward or backward"
    )
    for group, size in zip(groups, bytes_on_hosts(one, groups), strict=True):
        each = group.device.host_memory_bytes
        there = "how much it has, the catalogue doesn't know"
        if each is not None:
            there = f"it has {Bytes(each * group.devices_per_node)}"
        yield f"offload needs {Bytes(size)} of the memory of each host with {group.device.name}: {there}"

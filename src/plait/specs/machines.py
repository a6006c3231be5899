"""The machines of a cluster, with what the catalogue says of them: names become figures, and what a job left out
becomes what such machines usually have.

    [[cluster.groups]]  device = "rtx-4090", nodes = 2, devices_per_node = 4      ranks 0 to 7
    [[cluster.groups]]  device = "a100-80gb"                                      ranks 8 to 15

It knows no plan; who says what was taken for granted is `plans.cautions`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from plait.specs.catalogue import between_named, cards_in, device_named, inside_named
from plait.specs.cluster import ClusterSpec, GroupSpec
from plait.specs.hardware import DeviceSpec, HostLink

__all__ = ["Machines", "devices_each", "groups_of", "machines_of", "usual_between"]

_COMMON = ("intra_link", "inter_link", "price_per_hour", "power_watts")  # keys of groups that a cluster may say for all


@dataclass(frozen=True, kw_only=True)
class Machines:
    """Equal hosts. `between` joins them to each other and to other groups: of the whole host. `price_per_hour` (None:
    nobody said) and `power_watts` (None: nobody knows) are of one device."""

    first_rank: int
    nodes: int
    devices_per_node: int
    device: DeviceSpec
    inside: HostLink
    between: HostLink
    price_per_hour: float | None
    power_watts: float | None

    @property
    def ranks(self) -> int:
        """Devices of all hosts."""
        return self.nodes * self.devices_per_node

    @property
    def host_memory_bytes(self) -> int | None:
        """Of a host, for all its devices; None: as whoever built it chose."""
        part = self.device.host_memory_bytes
        return None if part is None else part * self.devices_per_node

    @property
    def domain(self) -> int:
        """How many neighbouring ranks `inside` joins: a host's, or those of several (NVL72)."""
        return min(self.ranks, max(self.devices_per_node, self.inside.domain or 0))


def machines_of(cluster: ClusterSpec) -> tuple[Machines, ...]:
    """The machines of a catalogue cluster, in the order of their ranks; none for ranks of this machine.

    Raises KeyError for a name that the catalogue does not have, which no job that was read has.
    """
    found: list[Machines] = []
    for group in groups_of(cluster):
        device = device_named(group.device)
        if device is None:
            raise KeyError(group.device)
        found.append(_machines(group, device, sum(one.ranks for one in found)))
    return tuple(found)


def groups_of(cluster: ClusterSpec) -> tuple[GroupSpec, ...]:
    """The groups of a catalogue cluster, what they leave out taken from the cluster; equal machines are one group."""
    groups = cluster.groups
    if cluster.device is not None:
        groups = (GroupSpec(device=cluster.device, nodes=cluster.nodes, devices_per_node=cluster.ranks_a_node),)
    return tuple(_with_common(group, cluster) for group in groups)


def _with_common(group: GroupSpec, cluster: ClusterSpec) -> GroupSpec:
    unsaid = {key: getattr(cluster, key) for key in _COMMON if getattr(group, key) is None}
    return replace(group, **unsaid)


def devices_each(group: GroupSpec) -> int:
    """Devices on each host of a group: as it says, else as many as such hosts usually have."""
    device = device_named(group.device)
    return group.devices_per_node or (1 if device is None else device.per_node)


def usual_between(device: DeviceSpec, devices_per_node: int) -> str:
    """The link between such hosts where nobody said it: as many cards a device as usual, at least one a host."""
    base, cards = cards_in(device.between)
    count = cards * devices_per_node // device.per_node
    return f"{base}-x{count}" if count > 1 else base


def _machines(group: GroupSpec, device: DeviceSpec, first_rank: int) -> Machines:
    each = devices_each(group)
    inside_name, between_name = group.intra_link or device.inside, group.inter_link or usual_between(device, each)
    inside, between = inside_named(inside_name), between_named(between_name)
    if inside is None or between is None:
        raise KeyError(inside_name if inside is None else between_name)
    return Machines(
        first_rank=first_rank,
        nodes=group.nodes,
        devices_per_node=each,
        device=device,
        inside=inside,
        between=between,
        price_per_hour=group.price_per_hour,
        power_watts=device.power_watts if group.power_watts is None else group.power_watts,
    )

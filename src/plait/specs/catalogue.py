"""Hardware by name: the devices and links that `[cluster]` takes, and what is wrong with a name that is none.

device       a100-80gb                  (`devices`)
intra_link   nvlink3                    (`connections`, inside a host)
inter_link   ib-hdr, ib-hdr-x8          (`connections`, between hosts; -xN: so many cards in each host)
             ethernet-2.5gbit           (at any rate)
a device's own link to its host's memory, by which offload goes: pcie4
"""

from __future__ import annotations

import re
from dataclasses import replace

from plait.errors import Problem
from plait.specs.connections import BETWEEN, INSIDE, TO_HOST, ethernet_named
from plait.specs.devices import DEVICES
from plait.specs.hardware import DeviceSpec, HostLink, MemoryLink
from plait.specs.links import LinkSpeed
from plait.specs.wording import nearest, shown

__all__ = [
    "ASSUMED",
    "ASSUMED_SPEED",
    "between_named",
    "cards_in",
    "device_named",
    "device_problem",
    "inside_named",
    "inter_link_problem",
    "intra_link_problem",
    "speed_between",
    "to_host_of",
]

ASSUMED = "ethernet-1gbit"  # between hosts, where nobody has said or measured what is there
ASSUMED_SPEED = BETWEEN[ASSUMED].speed
_CARDS = re.compile(r"(.+)-x([0-9]{1,7})")
_NEAR = 3


def device_named(name: str) -> DeviceSpec | None:
    """The device of that name, None if there is none."""
    return DEVICES.get(name)


def inside_named(name: str) -> HostLink | None:
    """The link inside a host of that name, None if there is none."""
    return INSIDE.get(name)


def between_named(name: str) -> HostLink | None:
    """The link between hosts of that name, with the cards that it counts ("ib-hdr-x8"); None if there is none."""
    base, cards = cards_in(name)
    found = BETWEEN.get(base) or ethernet_named(base)
    return replace(found, name=name, cards=cards) if found and cards else None


def to_host_of(device: DeviceSpec) -> MemoryLink | None:
    """What joins a device to its host's memory, None where that is not published."""
    return None if device.to_host is None else TO_HOST[device.to_host]


def cards_in(name: str) -> tuple[str, int]:
    """The link of one card in the name of a link between hosts, and how many cards it counts."""
    counted = _CARDS.fullmatch(name)
    return (counted[1], int(counted[2])) if counted else (name, 1)


def speed_between(name: str) -> LinkSpeed:
    """The link between hosts of that name as one pipe; raises KeyError for a name that is none."""
    found = between_named(name)
    if found is None:
        raise KeyError(name)
    return found.speed


def device_problem(key: str, name: str) -> Problem | None:
    """What is wrong with the name of a device."""
    return None if device_named(name) else _unknown(key, name, "device", tuple(DEVICES))


def intra_link_problem(key: str, name: str) -> Problem | None:
    """What is wrong with the name of a link inside a host."""
    if inside_named(name):
        return None
    if between_named(name):
        message = f"{shown(name)} joins hosts; inside one stands another link"
        return Problem(key=key, message=message, legal=tuple(INSIDE))
    return _unknown(key, name, "link inside a host", tuple(INSIDE))


def inter_link_problem(key: str, name: str) -> Problem | None:
    """What is wrong with the name of a link between hosts."""
    if between_named(name):
        return None
    if inside_named(name):
        message = f"{shown(name)} joins the devices of one host; between hosts stands another link"
        return Problem(key=key, message=message, legal=tuple(BETWEEN))
    return _unknown(key, cards_in(name)[0], "link between hosts", tuple(BETWEEN), asked=name)


def _unknown(key: str, name: str, kind: str, known: tuple[str, ...], *, asked: str = "") -> Problem:
    close = nearest(name.lower().replace("_", "-").replace(" ", "-"), known, _NEAR)
    message = f"no {kind} is called {shown(asked or name)}; the nearest is {close[0]}"
    if len(close) > 1:
        message = f"{message}, then {' and '.join(close[1:])}"
    return Problem(key=key, message=message, legal=known)

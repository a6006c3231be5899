"""Hardware as people write it beside a measured run, read as facts: which device, how much memory, which link, how many
cards of which rate, for a host or for a device.

    "H100-96GB HBM2e 2.4TB/s 500W"            h100, 96 GB, 2.4 TB/s, 500 W
    "NVLink + 4x OPA 100Gb/s per node"        inside nvlink; between 4 cards of 100 Gbit/s a host, Omni-Path
    "400 Gb/s RDMA per GPU"                   between as many cards of 400 Gbit/s as there are devices

What a text states goes before what the catalogue says; what it doesn't is as such machines usually are, and counts as
assumed. No text is known by heart: only the words of which such texts are made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from plait.specs.catalogue import between_named
from plait.specs.connections import BETWEEN, INSIDE
from plait.specs.devices import DEVICES
from plait.specs.hardware import DeviceSpec, HostLink
from plait.specs.machines import usual_between

__all__ = ["Wiring", "device_in", "wiring_in"]


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """The links of a host. `assumed`: which of "inside" and "between" the text does not state, or only in part."""

    inside: HostLink
    between: HostLink
    assumed: frozenset[str]


# ---- devices --------------------------------------------------------------------------------------------------------

# V100 in a DGX-2 has 32 GB, 16 a host (NVIDIA DGX-2 data sheet); elsewhere the larger memory is the more usual one
_USUAL_MEMORY = {"v100": 32, "a100": 80, "h100": 80}
_BARE = {"tpu-v5p": r"(?:tpu[- ]?)?v5p", "gaudi3": r"gaudi[- ]?3", "rtx-3090": r"(?:rtx[- ]?)?3090",
         "rtx-4090": r"(?:rtx[- ]?)?4090", "rtx-5090": r"(?:rtx[- ]?)?5090"}  # fmt: skip
_MEMORY = re.compile(r"(?<![0-9.])([1-9][0-9]{0,3})\s?gi?b?(?![a-z/])", re.IGNORECASE)
_SPEED = re.compile(r"(?<![0-9.])([0-9]{1,4}(?:\.[0-9]{1,3})?)\s?([gt])b/s", re.IGNORECASE)
_POWER = re.compile(r"(?<![0-9.])([1-9][0-9]{1,3})\s?w(?:atts?)?(?![a-z])", re.IGNORECASE)


def _family(name: str) -> str:
    return re.sub(r"-[0-9]+gb|-pcie", "", name)


def _pattern(family: str) -> re.Pattern[str]:
    word = _BARE.get(family, re.escape(family))
    return re.compile(rf"(?<![a-z0-9])(?:[0-9]+\s?[x×]\s?)?{word}(?=s?(?![a-z0-9])|[x×][0-9]|sxm|pcie)", re.IGNORECASE)


_FAMILIES: Mapping[str, re.Pattern[str]] = {family: _pattern(family) for family in map(_family, DEVICES)}


def device_in(text: str) -> DeviceSpec | None:
    """The device that a text speaks of, with what it states of memory, its bandwidth and power; None if it names none
    that the catalogue has."""
    family = next((name for name, pattern in _FAMILIES.items() if pattern.search(text)), None)
    if family is None:
        return None
    rest = _FAMILIES[family].sub(" ", text)
    speed, power, memory = _SPEED.search(rest), _POWER.search(rest), _MEMORY.search(_SPEED.sub(" ", rest))
    stated = int(memory[1]) if memory else _USUAL_MEMORY.get(family)
    kinds = [device for device in DEVICES.values() if _family(device.name) == family]
    in_slot = re.search("pci", text, re.IGNORECASE) is not None and not re.search("sxm|nvlink", text, re.IGNORECASE)
    found = min(kinds, key=lambda one: (("pcie" in one.name) != in_slot, _distance(one, stated)))
    if memory and _distance(found, stated) > _SAME_MEMORY:
        found = replace(found, memory_bytes=int(int(memory[1]) * 2**30 * _LEFT_OF_MEMORY))
    if speed and float(speed[1]):
        found = replace(found, memory_bandwidth=float(speed[1]) * {"g": 1e9, "t": 1e12}[speed[2].lower()])
    return replace(found, power_watts=float(power[1])) if power else found


_SAME_MEMORY = 0.06  # what the driver keeps, and a box that counts in 10^9
_LEFT_OF_MEMORY = 0.985  # of a size that no entry has


def _distance(device: DeviceSpec, gigabytes: int | None) -> float:
    """How far a device's memory is from a size in GB, or in GiB."""
    if gigabytes is None:
        return 0.0
    return min(abs(device.memory_bytes / (unit * gigabytes) - 1) for unit in (1e9, 2**30))


# ---- links ----------------------------------------------------------------------------------------------------------

_RATE = r"(?<![0-9.])([0-9]{1,5}(?:\.[0-9]{1,3})?)\s?\(?\s?([GTM])(b(?=/s|ps|it|E)|B(?=/s|ps))"
_STATED = re.compile(rf"(?:(?<![0-9.])([0-9]{{1,3}})\s?[x×]\s?(?:[A-Za-z-]+\s)?)?{_RATE}")
_COUNTED = re.compile(r"(?<![0-9.])([0-9]{1,2})\s?[x×]?\s?(?:[a-z0-9-]+\s)?(?:links?|cards?|nics?|hcas?|ports?|rails?)|"
                      r"(?<![0-9.])([0-9]{1,2})\s?[x×]\s?(?:[a-z-]+\s)?(?:edr|hdr|ndr|xdr|opa|ib|infiniband|roce)",
                      re.IGNORECASE)  # fmt: skip
_OF_A_DEVICE = re.compile(r"(?:per|a|each|/)\s?(?:gpu|device|accelerator|card|chip)", re.IGNORECASE)
_USUAL_RATES = (800, 400, 200, 100, 50, 40, 25)  # of one card, in Gbit/s
_INSIDE_WORDS = re.compile(r"nvlink|nvswitch|nvl[0-9]+|pci|xgmi|infinity|hbm", re.IGNORECASE)
_GENERATIONS = re.compile(r"(?<![a-z])(edr|hdr|ndr|xdr)(?![a-z])", re.IGNORECASE)
_KINDS = {  # how the wire is spoken of, and the entry that is like it
    "opa-100": r"(?<![a-z])opa(?![a-z])|omni-?\s?path",
    "roce-100gbit": r"roce|rdma|(?<![a-z])efa(?![a-z])",
    "ib-hdr": r"infiniband|(?<![a-z])ib(?![a-z])",
    "ethernet-100gbit": r"ethernet|(?<![a-z])tcp(?![a-z])|gbe(?![a-z])",
}
# machines that are known by name: what joins their hosts (their vendors' and operators' descriptions)
_MACHINES = {"selene": "ib-hdr-x8", r"eos(?![a-z])": "ib-ndr-x8", r"dgx-?\s?2(?![0-9])": "ib-edr-x8",
             "jean-?\\s?zay": "opa-100-x4", r"dgx-?\s?a100": "ib-hdr-x8", r"dgx-?\s?h100": "ib-ndr-x8"}  # fmt: skip


def wiring_in(text: str, device: DeviceSpec, devices_per_node: int) -> Wiring:
    """The links that a text speaks of, for hosts with so many of a device."""
    inside, between = _inside(text, device), _between(text, devices_per_node)
    usual = between_named(usual_between(device, devices_per_node)) or BETWEEN[device.between]
    unsaid = {"inside": inside, "between": between}
    return Wiring(
        inside=inside or INSIDE[device.inside],
        between=between or usual,
        assumed=frozenset(name for name, link in unsaid.items() if link is None),
    )


def _inside(text: str, device: DeviceSpec) -> HostLink | None:
    """The link inside a host; a word without its generation is of the device's own."""
    if found := re.search(r"nvl-?([0-9]{1,3})(?![0-9])", text, re.IGNORECASE):
        size = max(1, int(found[1]))
        return INSIDE["nvl72"] if size == INSIDE["nvl72"].domain else replace(INSIDE["nvl72"], domain=size)
    if found := re.search(r"nvlink\s?-?v?([2-5])(?![0-9.]|\s?[x×])", text, re.IGNORECASE):
        return _joined(INSIDE[f"nvlink{found[1]}"], text)
    if found := re.search(r"pci-?e?(?:xpress)?\s?-?(?:gen\s?|v)?([3-5])(?![0-9])", text, re.IGNORECASE):
        return INSIDE[f"pcie{found[1]}"]
    words = {"nvlink|nvswitch": "nvl", "pci": "pcie", "infinity|xgmi": "infinity", r"(?<![a-z])ici(?![a-z])": "ici"}
    for word, kind in words.items():
        if re.search(word, text, re.IGNORECASE):
            own = device.inside if device.inside.startswith(kind) else None
            return _joined(INSIDE[own or _LATEST.get(kind, device.inside)], text)
    return None


def _joined(link: HostLink, text: str) -> HostLink:
    """The same links through a switch, where a text says so and such hosts are built with and without."""
    return INSIDE.get(f"{link.name}-switch", link) if re.search("nvswitch", text, re.IGNORECASE) else link


_LATEST = {"pcie": "pcie4", "nvl": "nvlink3"}  # where a device that usually has another link is said to have this kind


def _between(text: str, devices_per_node: int) -> HostLink | None:
    """The link between hosts: its kind, the rate of a card, and how many cards a host has."""
    clauses = [clause for clause in re.split(r"[+;]|,\s", text) if not _only_inside(clause)]
    for clause in clauses:
        if found := _stated(clause, devices_per_node):
            return found
    for word, name in _MACHINES.items():
        if re.search(word, text, re.IGNORECASE):
            return between_named(name)
    joined = " ".join(clauses)
    if generation := _GENERATIONS.search(joined):
        cards = _COUNTED.search(joined)
        count = int(cards[1] or cards[2]) if cards else 0
        return between_named(f"ib-{generation[1].lower()}-x{count or devices_per_node}")
    return None


def _only_inside(clause: str) -> bool:
    """Whether a clause speaks of what is inside a host: its rates are no network's."""
    words = any(re.search(kind, clause, re.IGNORECASE) for kind in _KINDS.values()) or _GENERATIONS.search(clause)
    return _INSIDE_WORDS.search(clause) is not None and not words


def _stated(clause: str, devices_per_node: int) -> HostLink | None:
    """A link whose rate stands in a clause."""
    found = _STATED.search(clause)
    if found is None:
        return None
    gigabits = float(found[2]) * {"M": 1e-3, "G": 1.0, "T": 1e3}[found[3]] * (8 if found[4] == "B" else 1)
    if not gigabits:
        return None
    cards = _COUNTED.search(clause)
    count = int(found[1] or (cards[1] or cards[2] if cards else 0))
    if count:
        return _link(clause, gigabits, count)
    if _OF_A_DEVICE.search(clause):
        return _link(clause, gigabits, devices_per_node)
    if gigabits <= _USUAL_RATES[0] and not re.search(r"(?:per|a|each|/)\s?(?:node|host|server|machine)", clause):
        return _link(clause, gigabits, 1)
    return _link(clause, gigabits / (count := _cards_of(gigabits, devices_per_node)), count)


def _cards_of(gigabits: float, devices_per_node: int) -> int:
    """How many cards of a usual rate a host has that gets so much in all: as many as devices, if that can be."""
    counts = [n for n in range(devices_per_node, 0, -1) if devices_per_node % n == 0]
    return next((count for count in counts if gigabits / count in _USUAL_RATES), 1)


def _link(clause: str, gigabits: float, cards: int) -> HostLink:
    """So many cards of that rate, otherwise like the entry whose kind the clause names; else like InfiniBand."""
    kind = next((name for name, words in _KINDS.items() if re.search(words, clause, re.IGNORECASE)), "ib-hdr")
    name = f"{kind.partition('-')[0]}-{gigabits:g}gbit-x{cards}"
    return replace(BETWEEN[kind], name=name, peak=gigabits / 8 * 1e9, cards=cards)

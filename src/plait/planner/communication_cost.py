"""How long a message takes: what was measured of that link, or the one formula for links (`specs.links`).

    seconds │                 ╱  bandwidth rules beyond the largest size
            │            ×───×
            │     ×────×         in between: interpolated in logarithms
            │×──×                the smallest size costs as much as none
            └──────────────────► bytes

A group that was not measured is told by the formula, with its own number of ranks and the nearest group's constants;
one on several hosts by links between hosts, if any were measured.
It knows links, not who speaks over them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from math import exp, log

from plait.errors import UnusableInput
from plait.specs.links import Link, LinkKind
from plait.specs.measurements import Measurements

__all__ = ["CommunicationCost"]

_BACKENDS = {"cpu": ("shared-memory", "gloo"), "cuda": ("nccl",)}  # by device, what ranks of one host send by first
_NOISE = 0.05  # the least error of a link


class CommunicationCost:
    """The seconds of messages on one machine; remembers what it was asked."""

    def __init__(self, measurements: Measurements) -> None:
        host = measurements.host
        inside = [link for link in measurements.collectives if link.hosts == 1]
        overlap = [one for one in measurements.overlap if one.hosts == 1]
        there = {link.backend for link in inside}
        backends = _BACKENDS.get(host.device if host else "cpu", ())
        backend = next((one for one in backends if one in there), "")
        self._links = [link for link in inside if link.backend == backend] or inside
        self._overlap = [one for one in overlap if one.backend == backend] or overlap
        self._between = [link for link in measurements.collectives if link.hosts > 1]
        self._overlap_between = [one for one in measurements.overlap if one.hosts > 1]
        self._known: dict[tuple[LinkKind, int, int, int], float] = {}

    def seconds(self, kind: LinkKind, ranks: int, size: int, hosts: int = 1) -> float:
        """Seconds of one message with a payload of `size` bytes between ranks on so many hosts; raises UnusableInput
        where no link was measured."""
        if ranks == 1 or size == 0:
            return 0.0
        key = (kind, ranks, size, hosts)
        if key not in self._known:
            self._known[key] = _seconds(self._nearest(kind, ranks, hosts), kind, ranks, size)
        return self._known[key]

    def error(self) -> float:
        """The relative error to expect: the largest median error of a link's own formula."""
        return max([_NOISE, *(link.error for link in self._links), *(link.error for link in self._between)])

    def measured(self, kind: LinkKind, ranks: int, hosts: int = 1) -> bool:
        """Whether this kind was measured between as many ranks on as many hosts."""
        links = [*self._links, *self._between]
        return any((link.kind, link.ranks, link.hosts) == (kind, ranks, hosts) for link in links)

    def exposed_share(self, ranks: int, *, cores: float | None, at_work: int, hosts: int = 1) -> float:
        """The part of an all-reduce behind compute that lengthens it all the same. Unmeasured: none where a core is
        left for it, all where ranks at work fill the cores."""
        found = (self._overlap_between if hosts > 1 else ()) or self._overlap
        if found:
            return min(found, key=lambda one: abs(log(one.ranks / ranks))).exposed
        return 0.0 if cores is None or at_work < cores else 1.0

    def _nearest(self, kind: LinkKind, ranks: int, hosts: int) -> Link:
        found = (self._between if hosts > 1 else ()) or self._links or self._between
        if not found:
            raise UnusableInput("no link between ranks was measured here; run `plait profile`")
        return min(
            found, key=lambda link: (link.kind != kind, abs(log(link.hosts / hosts)), abs(log(link.ranks / ranks)))
        )


def _seconds(link: Link, kind: LinkKind, ranks: int, size: int) -> float:
    if (link.kind, link.ranks) != (kind, ranks):
        return replace(link, kind=kind, ranks=ranks).seconds(size)
    if not link.transfers:
        return link.seconds(size)
    points = sorted((transfer.bytes, transfer.seconds) for transfer in link.transfers)
    (smallest, first), (largest, last) = points[0], points[-1]
    if size <= smallest:
        return first
    if size >= largest:
        return last + link.seconds(size) - link.seconds(largest)
    return _between(points, size)


def _between(points: Iterable[tuple[int, float]], size: int) -> float:
    (low, below), (high, above) = next(pair for pair in pairwise(points) if pair[0][0] <= size <= pair[1][0])
    share = log(size / low) / log(high / low)
    return exp((1 - share) * log(below) + share * log(above))

"""How long a message takes: what was measured of that link, or the one formula for links (`specs.links`).

    seconds │                 ╱  bandwidth rules beyond the largest size
            │            ×───×
            │     ×────×         in between: interpolated in logarithms
            │×──×                the smallest size costs as much as none
            └──────────────────► bytes

A group that was not measured is told by the formula, with its own number of ranks and the nearest group's constants.

Between hosts, less what a shaped link lets pass at once after a pause: what was measured of just such a group; else
what the wire performs there, on the link that joins them:

    all-reduce        `sharding.all_reduce`; with several ranks on a host two halves inside it, and slices across
    reduce-scatter    around a ring of ours, and so a large all-gather; a small one around gloo's
                      with several ranks on a host both half inside it, and of slices around a ring of ours across
    send, exchange    one message
    compressed        of several ranks on a host their sum inside it, of slices what crosses of it, and back
    of accelerators   NCCL's own, taken for rings; but in an all-to-all each rank of a host sends its own out of it

What runs have said of links since (`Measurements.corrections`) lengthens or shortens every message of its kind; which
algorithm the wire takes it doesn't change. It knows links, not who speaks over them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from math import exp, log
from typing import Literal

from plait.errors import UnusableInput
from plait.planner.spread import Spread
from plait.plans.compression import in_two_levels
from plait.sharding.all_reduce import (
    PIECE_BYTES,
    RING_GATHER_BYTES,
    STEP_SECONDS,
    across_seconds,
    algorithm_between,
    pieces,
    shared,
)
from plait.specs.catalogue import ASSUMED, speed_between
from plait.specs.links import RECEIVES_AHEAD, Link, LinkKind, LinkSpeed, link_steps, wire_bytes
from plait.specs.measurements import Measurements

__all__ = ["CommunicationCost", "LinkSource"]

LinkSource = Literal["measured", "declared", "assumed"]

# by device, what ranks send by first: of one host; of several, each with one of them, or with more
_BACKENDS = {"cpu": ("shared-memory", "gloo"), "cuda": ("nccl",)}
_BETWEEN = {"cpu": ("gloo", "hierarchical"), "cuda": ("nccl", "nccl")}
_ALL_REDUCES: tuple[LinkKind, ...] = ("all_reduce", "all_reduce_in_place")
_HALVES: tuple[LinkKind, ...] = ("reduce_scatter", "all_gather")
_APART = "gloo"  # the backend of ranks of one host that share no memory: each stands as if it were alone
_BY_WHO_WAITS = ("shared-memory",)  # backends on which nothing moves but while somebody waits
_NOISE = 0.05  # the least error of a link


class CommunicationCost:
    """The seconds of messages on one machine, or on several like it; remembers what it was asked. `declared`: what is
    said to join hosts. `between`: what is taken to, and its `source`: assumed where nobody has said or measured it.
    `faster`: how many times as fast as that all links are, inside hosts and between them."""

    def __init__(self, measurements: Measurements, declared: str | None = None, faster: float = 1.0) -> None:
        host = measurements.host
        device = host.device if host else "cpu"
        links = [link.times_as_fast(faster) for link in measurements.collectives]
        inside = [link for link in links if link.hosts == 1]
        there = {link.backend for link in inside}
        backend = next((one for one in _BACKENDS.get(device, ()) if one in there), "")
        self._backend, self._on_cpu = backend or "as measured", device == "cpu"
        self._links = [link for link in inside if link.backend == backend] or inside
        overlap = [one for one in measurements.overlap if one.hosts == 1]
        self._overlap = [one for one in overlap if one.backend == backend] or overlap
        self._overlap_between = [one for one in measurements.overlap if one.hosts > 1 and declared is None]
        between = _BETWEEN.get(device, ("", ""))
        self._between = [
            link
            for link in links
            if link.hosts > 1 and declared is None and link.backend == between[link.ranks > link.hosts]
        ]
        found = _speed(self._between)
        self.between = speed_between(declared or ASSUMED).times_as_fast(faster) if found is None else found
        self.source: LinkSource = "declared" if declared else "assumed" if found is None else "measured"
        self._burst = max((link.burst for link in self._between), default=0.0)
        self._within = measurements.correction("links inside a host")
        self._beyond = measurements.correction("links between hosts")
        self._known: dict[tuple[LinkKind, Spread, int], float] = {}

    def seconds(self, kind: LinkKind, spread: Spread, size: int, pause: float = 0.0) -> float:
        """Seconds of one message with a payload of `size` bytes, on a link that nothing has gone over for `pause`
        seconds; raises UnusableInput where no link was measured."""
        if spread.ranks == 1 or size == 0:
            return 0.0
        whole = self._whole(kind, spread, size)
        if not (pause and self._burst and spread.crosses):
            return whole
        speed, burst = (one / spread.groups for one in (self.between.bytes_per_second, self._burst))
        saved = min(burst, pause * speed, wire_bytes(kind, spread.ranks, size)) / speed
        return max(whole - saved, min(whole, self._whole(kind, spread, 1)))

    def _whole(self, kind: LinkKind, spread: Spread, size: int) -> float:
        key = (kind, spread, size)
        if key not in self._known:
            price = self._across if spread.crosses else self._inside
            self._known[key] = price(kind, self._as_told(spread), size)
        return self._known[key]

    def algorithm(self, kind: LinkKind, group: Spread, size: float) -> str:
        """What performs such a message, in a word or two."""
        if not group.crosses:
            return self._backend
        if not self._on_cpu:
            return "nccl"
        hosts = self._as_told(group).hosts
        alone = not in_two_levels(hosts)
        if kind in _HALVES and not alone:
            return "two levels, ring across"
        if kind not in _ALL_REDUCES:
            return "ring" if self._around_ours(kind, group, size) else "gloo"
        across = algorithm_between(size if alone else min(size, PIECE_BYTES), hosts, self.between)
        return across if alone else f"two levels, {across} across"

    def levels(self, group: Spread) -> tuple[int, ...]:
        """How many of the group stand on each host where these sum first; empty where they don't."""
        shares = self._on_cpu and self._backend != _APART
        return group.hosts if shares and in_two_levels(group.hosts) else ()

    def packed_seconds(self, group: Spread, size: int, messages: Iterable[tuple[LinkKind, int]]) -> float:
        """Seconds of a compressed sum of `size` bytes in two levels, of which all slices' `messages` cross."""
        return self._halves(_HALVES, group, size) + sum(self._sliced(kind, group, one) for kind, one in messages)

    def all_to_all_seconds(self, group: Spread, size: int) -> float:
        """Seconds of an all-to-all, of the whole tensor on each rank: an all-gather's bytes, to other places. Where
        several stand on a host, each of them sends its own out of it, and an all-gather would go around once."""
        if not group.crosses or max(group.hosts) == 1:
            return self.seconds("all_gather", group, size)
        leaving = max(here * (group.ranks - here) for here in group.hosts) / group.ranks * size
        link = shared(self.between, group.groups)
        return self._beyond * ((group.ranks - 1) * link.alpha + leaving / link.bytes_per_second)

    def in_background(self, group: Spread) -> bool:
        """Whether such a group computes while what it sends goes on (`Wire.in_background`)."""
        return group.crosses or self._backend not in _BY_WHO_WAITS

    def receives_ahead(self, group: Spread) -> bool:
        """Whether one of such a pair of stages can expect a transfer before it needs it (`Wire.receives_ahead`)."""
        return self.algorithm("send", group, 0) in RECEIVES_AHEAD

    @cached_property
    def error(self) -> float:
        """The relative error to expect: the largest median error of a link's own formula."""
        return max([_NOISE, *(link.error for link in self._links), *(link.error for link in self._between)])

    def measured(self, kind: LinkKind, ranks: int) -> bool:
        """Whether this kind was measured between as many ranks of one host."""
        return any((link.kind, link.ranks) == (kind, ranks) for link in self._links)

    @property
    def overhead_measured(self) -> bool:
        """Whether it was measured what a message between hosts takes from who computes (`Link.overhead`)."""
        return any(link.overhead for link in self._between)

    def largest_measured(self, kind: LinkKind, ranks: int) -> int | None:
        """Bytes of the largest such message that was timed between as many ranks of one host; None where none was."""
        links = [link for link in self._links if (link.kind, link.ranks) == (kind, ranks)]
        return max((one.bytes for link in links for one in link.transfers), default=None)

    def exposed_share(self, spread: Spread, *, cores: float | None, at_work: int) -> float:
        """The part of an all-reduce behind compute that lengthens it all the same, beyond its `overhead`. Unmeasured:
        none between hosts, where the network moves the bytes, and where a core is left for it; all where ranks at work
        fill the cores."""
        found = self._overlap_between if spread.crosses else self._overlap
        if found:
            return min(found, key=lambda one: abs(log(one.ranks / spread.ranks))).exposed
        if spread.crosses:
            return 0.0
        return 0.0 if cores is None or at_work < cores else 1.0

    def nearest_between(self, kind: LinkKind, spread: Spread) -> Link | None:
        """Of the links between hosts the one that was measured most as this group stands; None for a group on one host,
        and where there is none."""
        if not spread.crosses:
            return None
        levels = in_two_levels(spread.hosts)

        def unlike(link: Link) -> tuple[bool, float]:
            return levels != (link.ranks > link.hosts), abs(log(link.ranks / spread.ranks))

        return min((link for link in self._between if link.kind == kind), key=unlike, default=None)

    def _inside(self, kind: LinkKind, spread: Spread, size: float) -> float:
        return self._within * _seconds(self._nearest(kind, spread.ranks), kind, spread.ranks, size)

    def _across(self, kind: LinkKind, spread: Spread, size: float) -> float:
        for link in self._between:
            if link.kind == kind and (link.ranks // link.hosts,) * link.hosts == spread.hosts:
                return self._beyond * (_seconds(link, kind, spread.ranks, size) + self._sharing(kind, spread, size))
        if kind in _HALVES and self.levels(spread):
            return self._halves((kind,), spread, size) + self._sliced(kind, spread, size)
        if kind not in _ALL_REDUCES or not self._on_cpu:
            alpha = self.between.alpha + (STEP_SECONDS if self._around_ours(kind, spread, size) else 0.0)
            link = shared(self.between, spread.groups)
            taken = wire_bytes(kind, spread.ranks, size) / link.bytes_per_second
            return self._beyond * (link_steps(kind, spread.ranks) * alpha + taken)
        across = self._beyond * across_seconds(size, spread.hosts, self.between, spread.groups)
        if not self.levels(spread):
            return across
        within = self._halves(_HALVES, spread, size)
        return max(across, within) + min(across, within) / max(1, len(pieces(size)))

    def _around_ours(self, kind: LinkKind, spread: Spread, size: float) -> bool:
        """Whether CPU ranks each on a host of its own send it around a ring of ours."""
        large = kind == "all_gather" and size >= RING_GATHER_BYTES * spread.ranks
        return self._on_cpu and (large or kind == "reduce_scatter")

    def _as_told(self, spread: Spread) -> Spread:
        """The group as the wire sees it: of CPUs that share no memory, each as if on a host of its own."""
        if not self._on_cpu or self.levels(spread) or not in_two_levels(spread.hosts):
            return spread
        return replace(spread, hosts=(1,) * spread.ranks)

    def _halves(self, kinds: Iterable[LinkKind], spread: Spread, size: float) -> float:
        """What of two levels is done inside the host that has most of the ranks."""
        return sum(self.seconds(kind, Spread(hosts=spread.hosts[:1]), round(size)) for kind in kinds)

    def _sliced(self, kind: LinkKind, spread: Spread, size: float) -> float:
        """Steps of ours across, of all slices at once, which have `size` bytes together."""
        hosts, slices = len(spread.hosts), min(spread.hosts)
        link = shared(self.between, spread.groups * slices)
        taken = wire_bytes(kind, hosts, size / slices) / link.bytes_per_second
        return self._beyond * (link_steps(kind, hosts) * (link.alpha + STEP_SECONDS) + taken)

    def _sharing(self, kind: LinkKind, spread: Spread, size: float) -> float:
        """What it takes longer than was measured, where several groups share a host's link."""
        return wire_bytes(kind, spread.ranks, size) / self.between.bytes_per_second * (spread.groups - 1)

    def _nearest(self, kind: LinkKind, ranks: int) -> Link:
        if not self._links:
            raise UnusableInput("no link between ranks was measured here; run `plait profile`")
        return min(self._links, key=lambda link: (link.kind != kind, abs(log(link.ranks / ranks))))


def _speed(links: Iterable[Link]) -> LinkSpeed | None:
    """What a measured message between two hosts says of the link; None where none was measured."""
    send = next((link for link in links if link.kind in ("send", "exchange")), None)
    if send is None:
        return None
    return LinkSpeed(alpha=max(send.alpha0 + send.alpha1, 1e-9), bytes_per_second=send.bytes_per_second)


def _seconds(link: Link, kind: LinkKind, ranks: int, size: float) -> float:
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


def _between(points: Iterable[tuple[int, float]], size: float) -> float:
    (low, below), (high, above) = next(pair for pair in pairwise(points) if pair[0][0] <= size <= pair[1][0])
    share = log(size / low) / log(high / low)
    return exp((1 - share) * log(below) + share * log(above))

"""Links between ranks, timed from inside them: every rank calls this together, torch.distributed joined.

    rank 0   compute ───────────────┤ start ──────── end
    rank 1   compute ───────┤ start ··· waits ······ end        time of the call = last end - last start

Ranks compute between two calls, as in training, so that a link is timed as training finds it: caches full of other
things, gloo's own threads asleep. Ranks of one host read one clock; where there are several hosts, each rank first
learns what its clock is ahead of the first one's (`_ahead`), and before each call with a payload something goes over
the cable: a link that is shaped lets a burst pass after a pause that it can't keep up. How large that is is measured
apart (`_burst`). Calls that say hardly anything follow each other as closely as in a step, and find threads as awake;
waking them makes times scatter by two, and a step pays the mean. What a message takes from who computes meanwhile is
measured of a light one, behind more compute than it needs (`_overhead`). Operations and links only, never a training
step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor

from plait.collectives.functional import buffer
from plait.collectives.process_groups import Group, join
from plait.collectives.wire import Buffer, Wire, Work
from plait.collectives.wire import Transfer as Passed
from plait.devices.device import Device, rank_device
from plait.devices.grid import Grid
from plait.devices.link_fit import fit_link
from plait.devices.timing import median_seconds
from plait.specs.links import Link, LinkKind, Overlap, Transfer

__all__ = ["LinkReport", "measure_links"]

_COMPUTE_SECONDS = 5e-4  # before each call
_FEWEST_ROUNDS, _FEWEST_LIGHT, _MOST_ROUNDS = 5, 15, 60
_HEAVY = 1 << 19  # bytes of a payload whose time hardly scatters
_LONG = 0.2  # seconds, of which latency is no part worth naming
_OVERLAP_ROUNDS = 9
_EMPTY, _LIGHT = 1 << 10, 1 << 14  # bytes of a payload that takes no time of a cable, and hardly any
_BESIDE_SECONDS, _OVERHEAD_ROUNDS = 4e-3, 30  # of compute beside a light message
_HIDING = 2.0  # times a collective's own time: compute that it is to hide behind
_KINDS: tuple[LinkKind, ...] = (
    "all_reduce", "all_reduce_in_place", "reduce_scatter", "all_gather", "send", "exchange",
)  # fmt: skip
_CLOCK_ROUNDS = 20
_BURST = 1 << 19  # bytes: as much as links are shaped to let pass at once
_SHAPED = 0.8  # of a link that has rested a burst takes less than this part of the time, if it is shaped
_MOST_REST, _BURST_ROUNDS = 0.25, 7
_FREAK = 3.0  # times the median, beyond which a call between hosts counts as that
_SIDE = 256  # of the matrices that ranks multiply in between

_Call = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class LinkReport:
    """What was found between `ranks` ranks, and between that many that compute meanwhile."""

    links: tuple[Link, ...]
    overlap: Overlap


@dataclass(frozen=True, kw_only=True)
class _Ring:
    """The ranks that take part, the work they do in between (`unit`, which takes `unit_seconds`), and their device."""

    group: Group
    device: Device
    unit: _Call
    unit_seconds: float
    hosts: int
    ahead: float  # seconds that this rank's clock is ahead of the first one's

    @property
    def wire(self) -> Wire:
        assert self.group.wire is not None
        return self.group.wire

    @property
    def ranks(self) -> int:
        return self.group.size

    def compute(self, seconds: float) -> None:
        """Multiply matrices for about that long."""
        for _ in range(round(seconds / self.unit_seconds)):
            self.unit()

    def drain(self) -> None:
        """Use up what a cable between hosts would let pass at once, in both directions until the same moment: of an
        exchange over gloo one is done long before the other."""
        if self.hosts > 1:
            _all_reduce(torch.zeros(_BURST // 4, device=self.device.torch), self.wire)

    def last(self, values: Sequence[float]) -> Tensor:
        """The largest over the ranks of each value."""
        largest = torch.tensor(values, dtype=torch.float64, device=self.device.torch)
        self.wire.all_reduce(largest, "max").wait()
        return largest.cpu()


def measure_links(grid: Grid, members: tuple[int, ...], hosts: int = 1) -> LinkReport | None:
    """Time every collective between the ranks `members`, on the wire that they train with; they stand on `hosts` hosts,
    as many on each. All ranks call it; the others get None, once these are done."""
    group = join("data", members)
    report = None
    if group is not None:
        ring = _ring(group, hosts)
        links = _links(grid, ring)
        report = LinkReport(links=links, overlap=_overlap(links, ring))
    dist.barrier()
    return report


def _ring(group: Group, hosts: int = 1) -> _Ring:
    device = rank_device()
    factor = torch.zeros(_SIDE, _SIDE, device=device.torch)
    unit = partial(torch.mm, factor, factor)
    taken = median_seconds({"unit": unit}, budget=0.0, device=device)["unit"]
    ahead = _ahead(group, device) if hosts > 1 else 0.0
    return _Ring(group=group, device=device, unit=unit, unit_seconds=taken, hosts=hosts, ahead=ahead)


def _ahead(group: Group, device: Device) -> float:
    """Seconds that this rank's clock is ahead of the first one's, as NTP finds them: half of what there and back differ
    by, of the round that was shortest."""
    wire, own = group.wire, 0.0
    assert wire is not None

    def passed(direction: Literal["send", "receive"], peer: int, value: float = 0.0) -> float:
        number = torch.tensor([value], dtype=torch.float64, device=device.torch)
        wire.exchange([Passed(direction=direction, tensor=number, peer=peer)]).wait()
        return float(number)

    for peer in range(1, group.size):
        best = (float("inf"), 0.0)
        for _ in range(_CLOCK_ROUNDS if group.index in (0, peer) else 0):
            if group.index == 0:
                sent = time.perf_counter()
                passed("send", peer)
                there = passed("receive", peer)
                back = time.perf_counter()
                best = min(best, (back - sent, there - (sent + back) / 2))
            else:
                passed("receive", 0)
                passed("send", 0, time.perf_counter())
        if group.index == 0:
            passed("send", peer, best[1])
        elif group.index == peer:
            own = passed("receive", 0)
    return own


def _links(grid: Grid, ring: _Ring) -> tuple[Link, ...]:
    """Of each kind, payload after payload, until one takes so long that it is its bytes alone which do."""
    budget = grid.link_seconds / len(grid.payloads)
    rows: list[list[Transfer]] = []
    for payload in sorted(grid.payloads):
        size, fewest = 4 * _elements(payload, ring.ranks), _FEWEST_LIGHT if payload < _HEAVY else _FEWEST_ROUNDS
        calls, empty, light = _calls(payload, ring), payload <= _EMPTY, payload <= _LIGHT
        seconds = _timed(calls, ring, budget, fewest, close=empty, scatters=light)
        rows.append([Transfer(bytes=size, seconds=one) for one in seconds])
        if max(seconds) > _LONG:
            break
    columns = zip(_KINDS, zip(*rows, strict=True), strict=True)
    fitted = [fit_link(ring.wire.name, kind, ring.ranks, column) for kind, column in columns]
    burst = _burst(ring, next(one for one in fitted if one.kind == "send").transfers[-1])
    passed, summed = (_overhead(kind, ring) for kind in ("exchange", "all_reduce_in_place"))
    spent = {"send": passed / 2, "exchange": passed}  # of an exchange's two messages, each rank sends and receives one
    return tuple(replace(one, hosts=ring.hosts, burst=burst, overhead=spent.get(one.kind, summed)) for one in fitted)


def _overhead(kind: LinkKind, ring: _Ring) -> float:
    """Seconds that a rank computes longer beside a message that takes next to no time of the cable. 0 inside a host,
    where who waits moves the bytes (`_overlap`); nor does what sums of several ranks a host leave to who waits count,
    which their own time contains."""
    if ring.hosts == 1:
        return 0.0
    start = _starts(kind, _elements(_LIGHT, ring.ranks), ring)
    (once,) = _timed([partial(_waited, start)], ring, 0.0, close=True)
    compute = partial(ring.compute, max(_BESIDE_SECONDS, _HIDING * once))
    calls = [compute, partial(_both, start, compute)]
    alone, together = _timed(calls, ring, 0.0, _OVERHEAD_ROUNDS, close=True, scatters=True)
    left = once if kind != "exchange" and ring.ranks > ring.hosts else 0.0
    return max(together - alone - left, 0.0)


def _starts(kind: LinkKind, count: int, ring: _Ring) -> Callable[[], Work]:
    """Starts one message of `count` fp32 numbers."""
    if kind == "exchange":
        sent, received = (torch.zeros(count, device=ring.device.torch) for _ in range(2))
        pair = _pair(sent, received, _partner(ring.group, ring.hosts))
        return partial(ring.wire.exchange, pair)
    held = buffer(count, torch.float32, ring.device.torch, ring.group)
    return partial(ring.wire.all_reduce, held.own, "sum")


def _waited(start: Callable[[], Work]) -> None:
    start().wait()


def _both(start: Callable[[], Work], compute: _Call) -> None:
    work = start()
    compute()
    work.wait()


def _burst(ring: _Ring, largest: Transfer) -> float:
    """Bytes that pass at once after a pause, as far as `_BURST` tells: those for which a message then needs no time of
    the bandwidth's. 0 inside a host, and of a link that is not shaped."""
    if ring.hosts == 1:
        return 0.0
    pairs = ring.ranks // 2  # of ranks, which share the cable
    bytes_per_second = pairs * largest.bytes / largest.seconds
    partner = _partner(ring.group, ring.hosts)
    sends = partner is not None and partner > ring.group.index
    sent = torch.zeros(_BURST // 4 // pairs, device=ring.device.torch)
    call = partial(_send, sent, ring.wire, partner, sends=sends)

    def after(rest: float) -> float:
        stamps: list[tuple[float, float]] = []
        for _ in range(_BURST_ROUNDS):
            ring.drain()
            ring.compute(rest)
            stamps.append(_stamps(call, ring))
        return median(_spans(stamps, ring))

    drained, rested = after(0.0), after(min(_BURST / bytes_per_second, _MOST_REST))
    return (drained - rested) * bytes_per_second if rested < _SHAPED * drained else 0.0


def _elements(payload: int, ranks: int) -> int:
    """fp32 numbers in a payload of about that many bytes that ranks can share equally."""
    return max(payload // 4 // ranks, 1) * ranks


def _calls(payload: int, ring: _Ring) -> tuple[_Call, ...]:
    """One call of each of _KINDS."""
    count = _elements(payload, ring.ranks)
    whole, other = (torch.zeros(count, device=ring.device.torch) for _ in range(2))
    parts, held = list(whole.chunk(ring.ranks)), buffer(count, whole.dtype, whole.device, ring.group)
    partner = _partner(ring.group, ring.hosts)
    sends = partner is not None and partner > ring.group.index
    return (
        partial(_all_reduce, whole, ring.wire),
        partial(_all_reduce_in_place, held, ring.wire),
        partial(_reduce_scatter, parts, ring.wire),
        partial(_all_gather, parts, ring.wire),
        partial(_send, whole, ring.wire, partner, sends=sends),
        partial(_exchange, whole, other, ring.wire, partner),
    )


def _partner(group: Group, hosts: int) -> int | None:
    """Ranks work in pairs, 0 with 1, 2 with 3; on several hosts a rank of the first half with one of the second, which
    stands on another host. The last of an odd number looks on."""
    half = group.size // 2
    if hosts > 1:
        partner = group.index + half if group.index < half else group.index - half
        return partner if group.index < 2 * half else None
    partner = group.index ^ 1
    return partner if partner < group.size else None


def _all_reduce(tensor: Tensor, wire: Wire) -> None:
    wire.all_reduce(tensor, "sum").wait()


def _all_reduce_in_place(held: Buffer, wire: Wire) -> None:
    wire.all_reduce(held.own, "sum").wait()


def _reduce_scatter(parts: Sequence[Tensor], wire: Wire) -> Tensor:
    return wire.reduce_scatter(parts).wait()[0]


def _all_gather(parts: Sequence[Tensor], wire: Wire) -> Tensor:
    return torch.cat(list(wire.all_gather(parts[0], [len(part) for part in parts]).wait()))


def _send(tensor: Tensor, wire: Wire, partner: int | None, *, sends: bool) -> None:
    if partner is not None:
        wire.exchange([Passed(direction="send" if sends else "receive", tensor=tensor, peer=partner)]).wait()


def _exchange(ours: Tensor, theirs: Tensor, wire: Wire, partner: int | None) -> None:
    wire.exchange(_pair(ours, theirs, partner)).wait()


def _pair(ours: Tensor, theirs: Tensor, partner: int | None) -> list[Passed]:
    if partner is None:
        return []
    return [
        Passed(direction="send", tensor=ours, peer=partner),
        Passed(direction="receive", tensor=theirs, peer=partner),
    ]


def _timed(
    calls: Sequence[_Call],
    ring: _Ring,
    budget: float,
    fewest: int = _FEWEST_ROUNDS,
    *,
    close: bool = False,
    scatters: bool = False,
) -> list[float]:
    """Seconds of each call, from the last rank's start to the last rank's end: the median, or the mean between hosts of
    what `scatters`. `close`: calls follow each other as closely as they can."""
    _round(calls, ring, close=close)  # connects
    began = time.perf_counter()
    _round(calls, ring, close=close)
    once = float(ring.last([time.perf_counter() - began]))
    rounds = min(max(round(budget / once), fewest), _MOST_ROUNDS)
    spans = torch.tensor([_round(calls, ring, close=close) for _ in range(rounds)])  # (rounds, calls)
    middle = spans.median(dim=0).values
    return (spans.clamp(max=_FREAK * middle).mean(dim=0) if scatters and ring.hosts > 1 else middle).tolist()


def _round(calls: Sequence[_Call], ring: _Ring, *, close: bool) -> list[float]:
    """Seconds of each call, once: the same numbers on every rank."""
    stamps: list[tuple[float, float]] = []
    for call in calls:
        ring.compute(_COMPUTE_SECONDS)
        if not close:
            ring.drain()
        stamps.append(_stamps(call, ring))
    return _spans(stamps, ring)


def _spans(stamps: Sequence[tuple[float, float]], ring: _Ring) -> list[float]:
    """From the last rank's start to the last one's end, of each."""
    starts, ends = zip(*((start - ring.ahead, end - ring.ahead) for start, end in stamps), strict=True)
    return (ring.last(ends) - ring.last(starts)).clamp(min=1e-9).tolist()


def _stamps(call: _Call, ring: _Ring) -> tuple[float, float]:
    ring.device.synchronize()
    started = time.perf_counter()
    call()
    ring.device.synchronize()
    return started, time.perf_counter()


def _overlap(links: Sequence[Link], ring: _Ring) -> Overlap:
    """A large all-reduce in place, as of gradients, compute, and both at once, in turn."""
    link = next(one for one in links if one.kind == "all_reduce_in_place")
    start = _starts(link.kind, link.transfers[-1].bytes // 4, ring)
    reduce = partial(_waited, start)
    once = _timed([reduce], ring, 0.0)[0]
    compute = partial(ring.compute, _HIDING * once)
    calls = [reduce, compute, partial(_both, start, compute)]
    communication, alone, together = _timed(calls, ring, _OVERLAP_ROUNDS * 6 * once)
    exposed = max(together - alone - link.overhead, 0.0) / communication
    return Overlap(backend=ring.wire.name, ranks=ring.ranks, hosts=ring.hosts, exposed=exposed)

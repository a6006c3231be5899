"""Measurements as a page of small tables, for people; the document has every number.

It knows measurements and how to set them in columns, not how they were taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from plait.cli.output import Line
from plait.cli.tables import columns
from plait.specs.links import Link
from plait.specs.measurements import Gemm, Host, Measurements, MemoryBound
from plait.units import Bytes, Seconds

__all__ = ["profile_lines"]

_SHOWN_PAYLOADS = 3


def profile_lines(measured: Measurements) -> Iterator[Line]:
    """Every part that was measured, a heading and a table each."""
    if measured.host:
        yield from _host(measured.host, measured.seconds)
    yield from _section("matrix products, forward, GFLOP/s", _gemm(measured.gemm))
    if measured.attention:
        yield from _section("causal attention, forward and backward", _attention(measured))
    if measured.memory_bound:
        yield from _section("memory-bound work, ns an element, forward and backward", _memory_bound(measured))
    yield from _section("one rank", _one_rank(measured))
    if measured.collectives:
        yield from _section("links", _links(measured.collectives))
        yield from _section("behind compute", _overlap(measured))
    if measured.host and measured.host.was_busy:  # last, where it is read
        busy = f"other programs kept {measured.host.busy_cores:.1f} cores busy: repeat this when the machine is quiet"
        yield []
        yield [("yellow", busy)]


def _section(title: str, rows: Sequence[Sequence[str]]) -> Iterator[Line]:
    yield []
    yield [("bold", title)]
    yield from ([("", f"  {row}")] for row in columns(rows))


def _host(host: Host, seconds: float) -> Iterator[Line]:
    yield [("bold", f"{host.processor}, {host.cores} cores, {Bytes(host.memory_bytes)}")]
    yield [("dim", f"device {host.device}, torch {host.torch}, {host.date}, in {Seconds(seconds)}")]


def _gemm(gemm: Sequence[Gemm]) -> list[list[str]]:
    """Rows of m (tokens), columns of square weights n = k; and the best of every dtype."""
    first = [one for one in gemm if one.dtype == gemm[0].dtype and one.layout == "forward"]
    rates = {(one.m, one.n, one.k): one.flops_per_second / 1e9 for one in first}
    sides = sorted({n for _, n, k in rates if n == k})
    rows = [[f"{gemm[0].dtype}, m tokens by", *(f"{side}×{side}" for side in sides)]]
    for m in sorted({m for m, _, _ in rates}):
        rows.append([str(m), *(f"{rates[m, side, side]:.1f}" if (m, side, side) in rates else "" for side in sides)])
    for dtype in dict.fromkeys(one.dtype for one in gemm):
        best = max((one for one in gemm if one.dtype == dtype), key=lambda one: one.flops_per_second)
        blank = [""] * (len(sides) - 1)
        rows.append([f"best {dtype}, {best.m}×{best.n}×{best.k}", f"{best.flops_per_second / 1e9:.1f}", *blank])
    return rows


def _attention(measured: Measurements) -> list[list[str]]:
    rows = [["sequence", "head_dim", "heads", "forward", "backward"]]
    for one in measured.attention:
        times = (str(Seconds(one.forward_seconds)), str(Seconds(one.backward_seconds)))
        rows.append([str(one.seq), str(one.head_dim), str(one.batch * one.heads), *times])
    return rows


def _memory_bound(measured: Measurements) -> list[list[str]]:
    sizes = sorted({_nominal(one) for one in measured.memory_bound})
    found = {(one.kind, _nominal(one)): one for one in measured.memory_bound}
    rows = [["elements", *(f"2^{size}" for size in sizes)]]
    for kind in dict.fromkeys(one.kind for one in measured.memory_bound):
        rows.append([kind, *(_per_element(found[kind, size]) if (kind, size) in found else "" for size in sizes)])
    return rows


def _nominal(one: MemoryBound) -> int:
    return one.elements.bit_length() - 1


def _per_element(one: MemoryBound) -> str:
    forward, backward = (1e9 * seconds / one.elements for seconds in (one.forward_seconds, one.backward_seconds))
    return f"{forward:.2f} {backward:5.2f}" if backward else f"{forward:.2f}      "


def _one_rank(measured: Measurements) -> list[list[str]]:
    dispatch, contention = measured.dispatch, measured.contention
    rows = [
        ["copies", f"{measured.memory_bandwidth / 1e9:.1f} GB/s read and written"],
        ["dispatch of an operator", f"{Seconds(dispatch.plain)} ({Seconds(dispatch.forward)} recorded)"],
        ["its share of backward", f"{Seconds(dispatch.backward)}"],
    ]
    for one in measured.optimizer:
        each = 1e9 * one.seconds / one.parameters
        rows.append([f"{one.name}, {one.parameters} in {one.tensors} tensors", f"{each:.2f} ns a parameter"])
    if contention.ranks > 1:
        copies = f"×{contention.cached:.2f} in caches, ×{contention.memory:.2f} beyond"
        slower = f"products take ×{contention.gemm:.2f} as long, copies {copies}"
        rows.append([f"{contention.ranks} ranks at once", slower])
        rows.append(["their copies together", f"{measured.memory_bandwidth_all / 1e9:.1f} GB/s"])
    if measured.speeds:
        rows.append(["speed of each rank", " ".join(f"{speed:.2f}" for speed in measured.speeds)])
    return rows


def _of(link: Link) -> str:
    return f", {link.hosts} hosts" if link.hosts > 1 else ""


def _links(links: Sequence[Link]) -> list[list[str]]:
    rows = [["kind", "ranks", "latency", "bandwidth", "fit", "measured"]]
    for link in links:
        step = max(len(link.transfers) // _SHOWN_PAYLOADS, 1)
        shown = ", ".join(f"{Bytes(one.bytes)} {Seconds(one.seconds)}" for one in link.transfers[::step])
        numbers = (str(Seconds(link.seconds(0))), f"{link.bytes_per_second / 1e9:.2f} GB/s", f"±{link.error:.0%}")
        rows.append([f"{link.kind} ({link.backend}{_of(link)})", str(link.ranks), *numbers, shown])
    return rows


def _overlap(measured: Measurements) -> list[list[str]]:
    shares = [
        [f"all_reduce between {one.ranks} ranks ({one.backend})", f"{one.exposed:.0%} of its time stays exposed"]
        for one in measured.overlap
    ]
    messages = [
        [f"each {one.kind} between {one.ranks} ranks{_of(one)}", f"and {Seconds(one.overhead)} more of computing"]
        for one in measured.collectives
        if one.overhead and one.kind in ("all_reduce", "send")
    ]
    return shares + messages

"""What a catalogue says of a device and of a link: numbers with their source. The entries stand in `devices` and
`connections`, who looks for one in `catalogue`.

    device   peak of each dtype, memory and its bandwidth, units, cache, power, and the machine it usually stands in
    link     inside a host: one direction, of one device          nvlink3: through a switch, to whomever
                                                                  infinity-fabric: by a link to each of the others
             between hosts: one direction, of one card, × cards   ib-hdr-x8: eight cards a host, shared by its devices
             to the host's memory: one direction, of one device   pcie4
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from plait.specs.links import LinkSpeed

__all__ = ["DeviceSpec", "DirectLinks", "HostLink", "MemoryLink", "Peak"]

Peak = Literal["fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "mxfp8", "nvfp4"]


@dataclass(frozen=True, kw_only=True)
class DeviceSpec:
    """One device. `peaks` in FLOP/s, dense, of matrix products that sum in fp32 (fp32 and fp64: without tensor cores
    where the vendor tells them apart); a dtype that it has no units for is missing. `architecture`: as its vendor calls
    the generation; devices of one have the same instructions.

    `memory_bytes` is what a program can use, `memory_bandwidth` in bytes/s. `units`: streaming multiprocessors, compute
    units, cores. `tile`: rows and columns of a product's usual piece on one unit, None: not known. `power_watts`: of
    the board, None: not published. `per_node`, `inside` and `between`: the host it usually stands in, taken where a job
    doesn't say. `to_host`: what joins it to its host's memory, None: not published; `host_memory_bytes`: its part of
    that memory, None: as whoever built the host chose. `source`: where the figures stand.
    """

    name: str
    architecture: str
    peaks: Mapping[Peak, float]
    memory_bytes: int
    memory_bandwidth: float
    units: int
    tile: tuple[int, int] | None
    cache_bytes: int
    power_watts: float | None
    per_node: int
    inside: str
    between: str
    to_host: str | None
    source: str
    host_memory_bytes: int | None = None

    def peak(self, dtype: str) -> float | None:
        """FLOP/s of a dtype; None where it has no units for it."""
        found = {str(name): rate for name, rate in self.peaks.items()}
        return found.get(dtype)


@dataclass(frozen=True, kw_only=True)
class DirectLinks:
    """Links that lead from device to device, with no switch between them: what a group says to each other travels over
    those that lead from one of it to another alone.

        four devices, each joined to each: 3 links a device        of a pair 1 of them, of three 2, of all four 3

    `count`: links of a device. `within`: of these, how many a device of a group of so many has in rings through the
    whole group, from pairs on: (size, links). Groups are of neighbours.
    """

    count: int
    within: tuple[tuple[int, int], ...]

    def part(self, ranks: int) -> float:
        """The part of a device's links that serves a group of so many; a size that isn't there is as the next smaller
        one."""
        fitting = [links for size, links in sorted(self.within) if size <= max(ranks, 2)]
        return fitting[-1] / self.count


@dataclass(frozen=True, kw_only=True)
class HostLink:
    """What joins devices of one host ("inside"), or hosts ("between"). `peak` is printed on it: bytes/s in one
    direction, of one device or one card; `reached` the part of it that large collectives get.

    A collective takes alpha0 + steps · alpha1 + wire bytes / bandwidth (`links`). `direct`: how devices are joined
    where there is no switch; None: through one, which gives every group, and every pair, all of `peak`. `domain`: so
    many devices of several hosts are joined; None: those of one host. `cards`: of a host. `reached_by`: the part that
    groups of so many devices were measured to get. `measured`: what of `reached` and the alphas was measured, and
    where; all else is assumed.
    """

    name: str
    place: Literal["inside", "between"]
    peak: float
    reached: float
    alpha0: float
    alpha1: float
    source: str
    measured: str = ""
    cards: int = 1
    domain: int | None = None
    reached_by: tuple[tuple[int, float], ...] = ()
    direct: DirectLinks | None = None

    @property
    def bytes_per_second(self) -> float:
        """What large collectives among all devices get in one direction: of a device inside a host, of the whole host
        between hosts."""
        return self.peak * self.cards * self.reached

    def among(self, ranks: int) -> float:
        """`bytes_per_second` of a group of so many devices: of the links that serve it, the part that the next larger
        group which was measured reached."""
        fitting = [part for size, part in sorted(self.reached_by) if size >= ranks]
        serving = 1.0 if self.direct is None else self.direct.part(ranks)
        return self.peak * self.cards * serving * (fitting[0] if fitting else self.reached)

    @property
    def speed(self) -> LinkSpeed:
        """The link as one pipe between two hosts."""
        return LinkSpeed(alpha=self.alpha1, bytes_per_second=self.bytes_per_second)


@dataclass(frozen=True, kw_only=True)
class MemoryLink:
    """What joins a device to its host's memory. `peak` is printed on it: bytes/s in one direction; `reached` the part
    of it that copies of pinned memory get. `measured`: where that was; all else is assumed."""

    name: str
    peak: float
    reached: float
    source: str
    measured: str = ""

    @property
    def bytes_per_second(self) -> float:
        """What large copies get in one direction."""
        return self.peak * self.reached

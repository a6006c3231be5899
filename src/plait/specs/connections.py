"""The links of the catalogue: inside a host, between hosts, and from a device to its host's memory. Figures only; who
looks for one is `catalogue`.

A figure is what is printed on a link, in one direction, beside the part of it that large collectives reach. Measured:

    nvlink3    NCCL's all-reduce among 2, 4, 8 A100: alpha0 39 µs, alpha1 2.8 µs a step, 193, 218, 227 GB/s
               (vTrain, MICRO 2024: the fit of its measured times)
    nvlink5    all-reduce among B200: 22 µs, 5.5 µs a step, 0.74 of 900 GB/s (SimuMax's fit, 2026-05)
    pcie4      all-reduce among 2, 4, 8 A100: 0.70, 0.69, 0.42 of 30 GB/s, 9 µs a step (SimuMax's fit, 2026-05)
    gaudi3     all-reduce of 256 MB among 8: 513 of 525 GB/s (Intel Gaudi documentation, Collectives Performance)
    ethernet   payload 1,448 bytes in each 1,538 on the wire: TCP over IPv4 with timestamps in frames of 1,500 bytes
               (IEEE 802.3: preamble, header, checksum and gap are 38). Up to 1 Gbit/s 130 µs, half of gloo's all-reduce
               of 4 KB between two ranks, found at every rate by benchmarks/wires_between_hosts.py; above, 40 µs, which
               SimuMax fitted between hosts of A100s (network fits, 2026-05)

Without a switch a pair has no more than what joins the two, which is priced so (`DirectLinks`):

    infinity-fabric   each of eight joined to each by one link (AMD, Understanding RCCL Bandwidth and xGMI, 2025)
    gaudi3-ports      each of eight joined to each by three ports (Intel Gaudi documentation, Network Configuration)
    nvlink2           DGX-1's hybrid cube mesh: of a device's six links one or two lead to each of three others and to
                      one beyond (NVIDIA, DGX-1 with Tesla V100, WP-08437-002). Some neighbours (0 and 1) share one; in
                      each half two rings close, in the whole three, all both ways: 4 and 6 links. DGX-2 has a switch.
    ici-v5p           a torus of three dims, one link each way along each (Google Cloud, TPU v5p): chips that stand in a
                      line of two, a square of four, a cube of eight have 1, 2 and 3 neighbours; rings close, and all
                      six links serve, from a cube of 4 × 4 × 4 on

All else is assumed: other generations reach what their nearest measured relative does, or what is written at the
entry. From 25 Gbit/s on, one connection of TCP seldom fills the wire.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from plait.specs.hardware import DirectLinks, HostLink, MemoryLink

__all__ = ["BETWEEN", "INSIDE", "TO_HOST", "ethernet_named"]

_GIGA = 1e9
# (alpha0, alpha1) in seconds
_NCCL = (39e-6, 2.8e-6)  # of nvlink3
_BLACKWELL = (22e-6, 5.5e-6)  # of nvlink5
_PCIE = (20e-6, 9e-6)
_RDMA, _RDMA_REACHED = (30e-6, 10e-6), 0.88  # a hop through two cards and a switch, by NCCL; assumed
_PAYLOAD = 1448 / 1538
_ETHERNET = re.compile(r"ethernet-([0-9]{1,5}(?:\.[0-9]{1,3})?)(mbit|gbit)")
_VTRAIN, _SIMUMAX = "vTrain, MICRO 2024 (fit of its all-reduce times)", "SimuMax, network fits, 2026-05"


def _inside(name: str, gigabytes: float, source: str, *, reached: float, alpha: tuple[float, float],
            measured: str = "", domain: int | None = None,
            reached_by: tuple[tuple[int, float], ...] = (), direct: DirectLinks | None = None) -> HostLink:  # fmt: skip
    return HostLink(name=name, place="inside", peak=gigabytes * _GIGA, reached=reached, alpha0=alpha[0],
                    alpha1=alpha[1], source=source, measured=measured, domain=domain, reached_by=reached_by,
                    direct=direct)  # fmt: skip


def _each_to_each(devices: int) -> DirectLinks:
    """So many devices, any two joined by as many links as any other two: a group of k has those to its k - 1 others."""
    return DirectLinks(count=devices - 1, within=tuple((size, size - 1) for size in range(2, devices + 1)))


def _card(name: str, gigabits: float, source: str) -> HostLink:
    return HostLink(name=name, place="between", peak=gigabits / 8 * _GIGA, source=source,
                    reached=_RDMA_REACHED, alpha0=_RDMA[0], alpha1=_RDMA[1])  # fmt: skip


def ethernet_named(name: str) -> HostLink | None:
    """Ethernet at any rate from 1 Mbit/s to 1.6 Tbit/s ("ethernet-2.5gbit"); None for another name."""
    told = _ETHERNET.fullmatch(name)
    gigabits = float(told[1]) / (1000 if told[2] == "mbit" else 1) if told else 0.0
    return replace(_ethernet(gigabits), name=name) if 0.001 <= gigabits <= 1600 else None


def _ethernet(gigabits: float) -> HostLink:
    slow = gigabits <= 1
    number = f"{gigabits * 1000:.0f}mbit" if gigabits < 1 else f"{gigabits:g}gbit"
    where = "gloo between network namespaces (benchmarks/wires_between_hosts.py)" if slow else _SIMUMAX
    return HostLink(name=f"ethernet-{number}", place="between", peak=gigabits / 8 * _GIGA, reached=_PAYLOAD,
                    alpha0=0.0, alpha1=130e-6 if slow else 40e-6, source="IEEE 802.3",
                    measured=f"latency: {where}")  # fmt: skip


_NVLINK = "NVIDIA data sheets of the devices: half of what is printed, which counts both directions"
_PCI_SIG = "PCI-SIG: 16 lanes, 128b/130b"
_CUBE_MESH = DirectLinks(count=6, within=((2, 1), (4, 4), (8, 6)))
_TORUS = DirectLinks(count=6, within=((2, 1), (4, 2), (8, 3), (64, 6)))

_INSIDE = (
    _inside("nvlink2", 150, f"{_NVLINK}; DGX-1: no switch", reached=0.75, alpha=_NCCL, direct=_CUBE_MESH),
    _inside("nvlink2-switch", 150, "NVIDIA DGX-2 data sheet: six links to NVSwitch", reached=0.75, alpha=_NCCL),
    _inside("nvlink3", 300, _NVLINK, reached=0.757, reached_by=((2, 0.643), (4, 0.727), (8, 0.757)),
            measured=_VTRAIN, alpha=_NCCL),
    _inside("nvlink4", 450, _NVLINK, reached=0.8, alpha=_NCCL),
    _inside("nvlink5", 900, _NVLINK, reached=0.742, alpha=_BLACKWELL, measured=_SIMUMAX),
    # of the devices made for export: links are fewer
    _inside("nvlink-400", 200, "NVIDIA A800 and H800 data sheets: 400 GB/s, both directions", reached=0.757,
            alpha=_NCCL),
    _inside("nvl72", 900, "NVIDIA GB200 NVL72 data sheet; reached as nvlink5", reached=0.742, alpha=_BLACKWELL,
            domain=72),
    _inside("pcie3", 15.75, _PCI_SIG, reached=0.6, alpha=_PCIE),
    _inside("pcie4", 31.5, _PCI_SIG, reached=0.398, reached_by=((2, 0.663), (4, 0.659), (8, 0.398)),
            measured=_SIMUMAX, alpha=_PCIE),
    _inside("pcie5", 63.0, _PCI_SIG, reached=0.398, reached_by=((2, 0.663), (4, 0.659), (8, 0.398)), alpha=_PCIE),
    # without peer-to-peer every message is copied into the host's memory and out of it
    _inside("pcie4-via-host", 31.5, f"{_PCI_SIG}; GeForce has no peer-to-peer", reached=0.444,
            reached_by=((4, 0.556), (8, 0.444)), alpha=_PCIE),
    _inside("pcie5-via-host", 63.0, f"{_PCI_SIG}; GeForce has no peer-to-peer", reached=0.444,
            reached_by=((4, 0.556), (8, 0.444)), measured="35 and 28 GB/s among 4 and 8 RTX 5090 (NVIDIA/nccl#1639)",
            alpha=_PCIE),
    _inside("infinity-fabric", 448, "AMD MI300X data sheet: 7 links of 64 GB/s each way", reached=0.7, alpha=_NCCL,
            measured="about 48 of 64 GB/s a link (AMD, Understanding RCCL Bandwidth and xGMI, 2025); less for sums",
            direct=_each_to_each(8)),
    _inside("gaudi3-ports", 525, "Intel Gaudi 3 white paper: 21 of 24 ports of 200 Gbit/s", reached=0.977, alpha=_NCCL,
            measured="513 GB/s among 8 (Intel Gaudi documentation, Collectives Performance)", direct=_each_to_each(8)),
    _inside("ici-v5p", 600, "Google Cloud, TPU v5p: 4,800 Gbit/s a chip", reached=0.9, alpha=(5e-6, 1e-6),
            domain=8960, direct=_TORUS),
)  # fmt: skip

_IBTA = "InfiniBand Trade Association, 4 lanes"
_CARDS = (
    _card("ib-edr", 100, _IBTA),
    _card("ib-hdr", 200, _IBTA),
    _card("ib-ndr", 400, _IBTA),
    _card("ib-xdr", 800, _IBTA),
    *(_card(f"roce-{rate}gbit", rate, "IEEE 802.3, RDMA over converged Ethernet v2")
      for rate in (25, 50, 100, 200, 400, 800)),
    _card("opa-100", 100, "Intel Omni-Path 100 series product brief"),
    *(_ethernet(rate) for rate in (0.05, 0.2, 1, 10, 25, 40, 50, 100, 200, 400)),
)  # fmt: skip

# nvbandwidth's copies of pinned memory, one device at a time; with both ways busy pcie4 gave the second half as much
_TO_HOST = (
    MemoryLink(name="pcie3", peak=15.75e9, reached=0.81, source=_PCI_SIG),
    MemoryLink(name="pcie4", peak=31.5e9, reached=0.81, source=_PCI_SIG,
               measured="25.6 GB/s in, 26.8 out, the mean of eight RTX 4090 (NVIDIA/nvbandwidth#15)"),
    MemoryLink(name="pcie5", peak=63e9, reached=0.89, source=_PCI_SIG,
               measured="56.3 GB/s in, 57.3 out, of eight RTX 5090 (tinygrad/open-gpu-kernel-modules#29)"),
    MemoryLink(name="nvlink-c2c", peak=225e9, reached=0.8,
               source="NVIDIA GB200 NVL72 data sheet: 900 GB/s a superchip, both directions, which two devices share"),
)  # fmt: skip

INSIDE: Mapping[str, HostLink] = MappingProxyType({link.name: link for link in _INSIDE})
BETWEEN: Mapping[str, HostLink] = MappingProxyType({link.name: link for link in _CARDS})
TO_HOST: Mapping[str, MemoryLink] = MappingProxyType({link.name: link for link in _TO_HOST})

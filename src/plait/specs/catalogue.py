"""Hardware by name: so far the links between hosts that `[cluster] inter_link` takes.

A figure is what a program gets of a link, not what is printed on it, and has its source here.

    Ethernet   bandwidth   1,448 bytes of a message in each 1,538 on the wire: TCP over IPv4 with timestamps in frames
                           of 1,500 bytes (IEEE 802.3: preamble, header, checksum and gap are 38)
               alpha       50 Mbit/s to 1 Gbit/s: 130 µs, half of gloo's all-reduce of 4 KB between two ranks, which
                           benchmarks/wires_between_hosts.py found at every rate; above: 40 µs, which SimuMax fitted
                           between hosts of A100s (network fits, 2026-05)

From 25 Gbit/s on, one connection of TCP seldom fills the wire. Devices, and links of other kinds, are to come here.
"""

from __future__ import annotations

from collections.abc import Mapping

from plait.specs.links import LinkSpeed

__all__ = ["ASSUMED", "LINKS"]

_PAYLOAD = 1448 / 1538
_SLOW_ALPHA, _FAST_ALPHA = 130e-6, 40e-6
ASSUMED = "ethernet-1gbit"  # between hosts, where nobody has said or measured what is there


def _ethernet(bits_per_second: float, alpha: float) -> LinkSpeed:
    return LinkSpeed(alpha=alpha, bytes_per_second=bits_per_second / 8 * _PAYLOAD)


LINKS: Mapping[str, LinkSpeed] = {
    "ethernet-50mbit": _ethernet(50e6, _SLOW_ALPHA),
    "ethernet-200mbit": _ethernet(200e6, _SLOW_ALPHA),
    "ethernet-1gbit": _ethernet(1e9, _SLOW_ALPHA),
    "ethernet-10gbit": _ethernet(10e9, _FAST_ALPHA),
    "ethernet-25gbit": _ethernet(25e9, _FAST_ALPHA),
    "ethernet-100gbit": _ethernet(100e9, _FAST_ALPHA),
}

"""The network interface on which gloo's ranks of several hosts find each other.

    GLOO_SOCKET_IFNAME=eth0    it has to exist
    (not set, or empty)        the one from which this host reaches the ranks' store: gloo's own choice goes by the
                               name of the host, which often means 127.0.0.1

It knows this host's interfaces; it must not know ranks.
"""

from __future__ import annotations

import os
import socket
import struct
import sys

from plait.errors import UnusableInput

__all__ = ["VARIABLE", "choose_interface", "require_interface"]

VARIABLE = "GLOO_SOCKET_IFNAME"

_SIOCGIFADDR = 0x8915  # linux/sockios.h: the IPv4 address of an interface


def choose_interface(address: str, port: int) -> None:
    """Settle `GLOO_SOCKET_IFNAME` for this process. Raises UnusableInput, with the names that there are, for one that
    does not exist. Where no interface can be told (IPv6, other systems than Linux), the choice is left to gloo."""
    if not os.environ.get(VARIABLE):
        found = _leading_to(address, port, _names()) if sys.platform == "linux" else None
        if found is not None:
            os.environ[VARIABLE] = found
    require_interface()


def require_interface() -> None:
    """Raises UnusableInput, with the names that there are, where `GLOO_SOCKET_IFNAME` names one that does not exist."""
    asked, names = os.environ.get(VARIABLE), _names()
    if not asked:
        return
    unknown = [name for name in asked.split(",") if name not in names]
    if unknown:
        raise UnusableInput(
            f"{VARIABLE} is {asked}, and {socket.gethostname()} has no interface {', '.join(unknown)};"
            f" there are {', '.join(names)}"
        )


def _names() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def _leading_to(address: str, port: int, names: list[str]) -> str | None:
    """The interface whose own address this host sends from to `address`; None if that can't be told."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, port))  # sends nothing: only looks up the way
        except OSError:
            return None
        own = probe.getsockname()[0]
        return next((name for name in names if _address(probe, name) == own), None)


def _address(probe: socket.socket, name: str) -> str | None:
    import fcntl  # not everywhere

    try:
        found = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
    except OSError:  # it has none
        return None
    return socket.inet_ntoa(found[20:24])

"""Memory that several processes of one host have mapped; nothing of it is left when they are gone, however they went.

    rank 0   memfd ──► mapped          announces (process, descriptor)
    rank 1             mapped ◄── /proc/<process>/fd/<descriptor>

It has no name in any file system: the kernel lets go of it with the last mapping. Pages that nobody has touched cost
nothing. This knows files and mappings; it must not know who writes what.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from pathlib import Path

import torch

__all__ = ["attached", "can_share", "created", "host_identity", "mapped"]

_ORDERED = ("x86_64", "amd64", "i686")  # processors that let others see stores in the order in which they were made


def can_share() -> bool:
    """Whether processes of this host can share memory here: what one stores, others see in its order, on x86; what one
    has mapped, others find below /proc, on Linux."""
    ordered = sys.platform == "linux" and platform.machine().lower() in _ORDERED
    return ordered and os.path.exists("/proc/self/fd")


def host_identity() -> int:
    """A number that processes of one host have in common, and others don't.

    Processes in other network namespaces count as being on other hosts: so hosts can be tried out on one machine. Where
    the kernel tells nothing (macOS), hosts are told apart by their names.
    """
    digest = hashlib.sha256("\n".join(_traits()).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def _traits() -> list[str]:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return [boot, *(os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "net", "user"))]
    except OSError:
        return [platform.node()]


def created(size: int) -> int:
    """A new segment of `size` bytes, all zero; returns its descriptor, to be closed once everybody has attached."""
    descriptor = os.memfd_create("plait")
    os.ftruncate(descriptor, size)
    return descriptor


def mapped(descriptor: int, size: int) -> torch.Tensor:
    """A segment's `size` bytes as this process sees them; unmapped with the last tensor that looks at them."""
    return attached(os.getpid(), descriptor, size)


def attached(process: int, descriptor: int, size: int) -> torch.Tensor:
    """The bytes of a segment that `process` has created, and not closed yet. Raises RuntimeError where it can't be."""
    return torch.from_file(f"/proc/{process}/fd/{descriptor}", shared=True, size=size, dtype=torch.uint8)

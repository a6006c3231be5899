"""The host beneath the devices: its processor, the cores and bytes this process may use, and how busy others keep it.

A container's limits count, not the machine's: a rank more than the cores it may use is a rank that waits. It knows the
operating system's files (Linux first, the portable answer elsewhere), and no torch.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import NamedTuple

from plait.specs.cluster import usable_cores
from plait.specs.measurements import Processor

__all__ = [
    "Load",
    "Work",
    "begin_new_peak",
    "busy_cores",
    "memory_bytes",
    "peak_resident_bytes",
    "processor_name",
    "resident_bytes",
    "resident_file_bytes",
    "this_processor",
]

_BOOT = Path("/proc/sys/kernel/random/boot_id")  # random(4): the same in all containers of a machine
_CGROUP = Path("/sys/fs/cgroup")
_LEAST_SECONDS = 0.2  # twenty ticks of the usual clock
_RESET_PEAK = "5"  # what /proc/PID/clear_refs takes for it: proc(5)


def memory_bytes(cgroup: Path = _CGROUP) -> int:
    """Bytes of memory that this process may use: the machine's, or a container's limit."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _words(cgroup / "memory.max")
    return physical if limit in ([], ["max"]) else min(physical, int(limit[0]))


def processor_name() -> str:
    """The processor's model name."""
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def this_processor() -> Processor:
    """What this process computes on."""
    return Processor(processor_name(), usable_cores())


def resident_bytes() -> int:
    """Bytes of this process that are in memory now; the peak where the system doesn't say."""
    pages = _words(Path("/proc/self/statm"))
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if pages else _counted_peak()


def resident_file_bytes() -> int:
    """Those of the resident bytes that are a file's: libraries, mapped data, memory shared with others; 0 where the
    system doesn't say."""
    pages = _words(Path("/proc/self/statm"))
    return int(pages[2]) * os.sysconf("SC_PAGE_SIZE") if pages else 0


def peak_resident_bytes() -> int:
    """The most bytes of this process that were ever in memory at once. Linux counts its peak a few hundred KiB too low
    (by counters of each processor that it has not added up), but not what is there now."""
    return max(_counted_peak(), resident_bytes())


def _counted_peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # getrusage(2): Linux counts KiB


def begin_new_peak() -> None:
    """Give back what the allocator keeps of memory that is free, and count the peak from here (Linux, glibc); where the
    system can't, it stays as it is. Whoever allocates next pays for new pages."""
    with contextlib.suppress(OSError, AttributeError):  # another C library has no such function
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK, encoding="utf-8")


class Work(NamedTuple):
    """What was done for a while, in cores' worth: by all programs of the `machine`, which has `cores`, and by one
    process of it."""

    machine: str
    cores: int
    everybody: float
    own: float


class Load:
    """Begins to count what this machine and this process do."""

    def __init__(self) -> None:
        self._busy, self._own, self._began = _busy_ticks(), time.process_time(), time.monotonic()

    def read(self) -> Work | None:
        """Since it began; None where the system doesn't say, or counts too coarsely for so short a while."""
        busy, own, elapsed = _busy_ticks(), time.process_time() - self._own, time.monotonic() - self._began
        if busy is None or self._busy is None or elapsed < _LEAST_SECONDS:
            return None
        everybody = max(0.0, busy - self._busy) / os.sysconf("SC_CLK_TCK") / elapsed
        return Work(
            machine=_text(_BOOT).strip(), cores=os.cpu_count() or 1, everybody=everybody, own=own / elapsed
        )  # fmt: skip


def busy_cores(seconds: float = 0.2) -> float | None:
    """Cores' worth of work done on this machine during the next `seconds`, in which this thread does nothing.

    None where the system doesn't say. Other users of a shared machine count: they disturb what is timed here.
    """
    before = _busy_ticks()
    if before is None:
        return None
    began = time.monotonic()
    time.sleep(seconds)
    after = _busy_ticks()
    elapsed = time.monotonic() - began
    return None if after is None else max(0.0, after - before) / os.sysconf("SC_CLK_TCK") / elapsed


def _busy_ticks() -> int | None:
    first = _text(Path("/proc/stat")).partition("\n")[0].split()
    if not first or first[0] != "cpu":
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, first[1:9])
    return user + nice + system + irq + softirq + steal


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    """The content of a file of the kernel's; empty where this system has none such, or doesn't let us read it."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""

"""Is this machine fit to run ranks? What one process can say without starting any: versions, limits, the environment.

    Check(name, ok, detail)      a detail says what was found; where it isn't ok, also the rule and the remedy

Every check takes what it looks at, so that a planted fault can be shown to be found. It knows the system and the
installed packages; ranks and what passes between them stand in `exchange`.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from plait.devices import host
from plait.devices.device import current_device
from plait.specs.cluster import usable_cores
from plait.units import Bytes

__all__ = [
    "Check",
    "check_accelerator",
    "check_cores",
    "check_disk",
    "check_environment",
    "check_packages",
    "check_python",
    "check_shared_memory",
    "check_threads",
    "satisfies",
]

_PYTHON = (3, 11)
_LEAST_MEMORY = 2 * 2**30
_LEAST_DISK = 2**28  # a run of the demo's size with its data
_LEAST_SHARED_MEMORY = 2**24
_SHARED_MEMORY = Path("/dev/shm")
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*])?\s*(?P<versions>[^;]*)(?P<marker>;.*)?")
_BOUND = re.compile(r"(>=|<=|==|<|>)\s*([0-9.]+)")
_PREFIXES = ("GLOO_", "MASTER_", "NCCL_", "PLAIT_", "TORCH_", "CUDA_VISIBLE", "MKL_NUM", "OMP_", "KMP_", "MALLOC_")
_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "PYTHONPATH", "LD_PRELOAD", "XDG_CACHE_HOME")
_INTERFACE = "GLOO_SOCKET_IFNAME"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Check:
    """Python is new enough."""
    found = ".".join(map(str, version))
    needed = ".".join(map(str, _PYTHON))
    ok = version >= _PYTHON
    detail = f"{found} on {platform.platform()}" if ok else f"{found}; Plait needs {needed} or newer"
    return Check(name="python", ok=ok, detail=detail)


def satisfies(version: str, bounds: str) -> bool:
    """Whether a release lies within bounds such as `>=2.11,<2.14`; its local part (`+cpu`) does not count."""
    found = _numbers(version.partition("+")[0])
    return all(_within(found, operator, _numbers(bound)) for operator, bound in _BOUND.findall(bounds))


def _within(found: tuple[int, ...], operator: str, bound: tuple[int, ...]) -> bool:
    match operator:
        case ">=":
            return found >= bound
        case "<=":
            return found <= bound
        case "==":
            return found == bound
        case "<":
            return found < bound
        case _:
            return found > bound


def _numbers(version: str) -> tuple[int, ...]:
    """`2.13.0` and `2.13` alike: (2, 13)."""
    numbers = [int(re.match(r"\d*", part).group() or 0) for part in version.split(".")]  # pyright: ignore
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def check_packages(requirements: tuple[str, ...] | None = None) -> Iterator[Check]:
    """Each package that Plait needs is there, in a version that it works with."""
    try:
        needed = importlib.metadata.requires("plait") or [] if requirements is None else requirements
    except importlib.metadata.PackageNotFoundError:
        yield Check(name="plait", ok=False, detail="not installed, only on the path; `pip install -e .` in its root")
        return
    yield Check(name="plait", ok=True, detail=f"{importlib.metadata.version('plait')} run by {sys.executable}")
    for requirement in needed:
        if (parsed := _REQUIREMENT.fullmatch(requirement)) and not parsed["marker"]:
            yield _package(parsed["name"], parsed["versions"].strip())


def _package(name: str, bounds: str) -> Check:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name=name, ok=False, detail=f"not installed; Plait needs {name}{bounds}")
    ok = satisfies(version, bounds)
    return Check(name=name, ok=ok, detail=version if ok else f"{version}; Plait needs {name}{bounds}")


def check_cores(cores: int | None = None, memory: int | None = None) -> Check:
    """Cores and memory that this process may use."""
    cores, memory = cores or usable_cores(), memory or host.memory_bytes()
    ok = memory >= _LEAST_MEMORY
    detail = f"{host.processor_name()}, {cores} usable, {Bytes(memory)} of memory"
    return Check(name="cores", ok=ok, detail=detail if ok else f"{detail}; ranks need {Bytes(_LEAST_MEMORY)} or more")


def check_accelerator() -> Check:
    """Which device ranks get; having none is fine."""
    device = current_device()
    detail = "none: ranks run on the CPU over gloo"
    if device.is_accelerator:
        count = torch.accelerator.device_count()
        detail = f"{count} × {device.kind}, {Bytes(device.total_memory)} each, over {device.backend}"
    return Check(name="accelerator", ok=True, detail=detail)


def check_shared_memory(folder: Path = _SHARED_MEMORY) -> Check:
    """Shared memory between processes; containers often give 64 MiB, or none."""
    if not folder.exists():
        ok, detail = sys.platform != "linux", f"no {folder} on this system"
    else:
        usage = shutil.disk_usage(folder)
        ok, detail = usage.free >= _LEAST_SHARED_MEMORY, f"{Bytes(usage.free)} free of {Bytes(usage.total)}"
    return Check(
        name="shared memory",
        ok=ok,
        detail=detail if ok else f"{detail}; ranks need {Bytes(_LEAST_SHARED_MEMORY)} (docker: --shm-size 1g)",
    )


def check_disk(folder: Path) -> Check:
    """There is room where runs go, and it can be written."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    try:
        with tempfile.NamedTemporaryFile(dir=there) as file:
            file.write(b"plait")
    except OSError as error:
        return Check(name="disk", ok=False, detail=f"{there} can't be written: {error.strerror or error}")
    ok = free >= _LEAST_DISK
    detail = f"{Bytes(free)} free in {there}"
    return Check(name="disk", ok=ok, detail=detail if ok else f"{detail}; a run needs {Bytes(_LEAST_DISK)}")


def check_threads(environment: Mapping[str, str] = os.environ) -> Check:
    """How many threads a process computes with when nobody says; each rank gets its own number."""
    wanted = environment.get("OMP_NUM_THREADS", "")
    ok = not wanted or (wanted.isdecimal() and int(wanted) > 0)
    detail = f"torch computes with {torch.get_num_threads()}, OMP_NUM_THREADS is {wanted or 'unset'}"
    return Check(name="threads", ok=ok, detail=detail if ok else f"{detail}; it has to be a whole number above 0")


def check_environment(environment: Mapping[str, str] = os.environ) -> Check:
    """The variables that change what ranks do, for a bug report, and those among them that can't work."""
    telling = {name: environment[name] for name in sorted(environment) if name in _NAMES or name.startswith(_PREFIXES)}
    problems = list(_contradictions(environment))
    shown = ", ".join(f"{name}={value}" for name, value in telling.items()) or "nothing set that matters"
    return Check(name="environment", ok=not problems, detail="; ".join([shown, *problems]))


def _contradictions(environment: Mapping[str, str]) -> Iterator[str]:
    if "RANK" in environment:
        missing = [name for name in ("WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in environment]
        if missing:
            yield f"RANK is set, but not {', '.join(missing)}: unset it, or start ranks with a launcher"
    interface = environment.get(_INTERFACE)
    known = [name for _, name in socket.if_nameindex()]
    if interface and not set(interface.split(",")) <= set(known):
        yield f"{_INTERFACE} names {interface}; here are {', '.join(known)}"

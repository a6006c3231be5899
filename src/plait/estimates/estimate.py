"""All that is said of plans at once: seconds with an interval, where they go, bytes, and how likely they are to fit.

An interval holds four of five measured runs of the kinds that were looked at, and is wider elsewhere (`coverage`). A
rank's device must hold what the program allocates, what its allocator can't use, and what drivers and libraries take;
a host what all its ranks keep in its memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plait.estimates.arrangements import Arrangements, Column
from plait.estimates.coverage import spread_of
from plait.estimates.memory import Bytes, memory
from plait.estimates.offload import in_fullest_host
from plait.estimates.step import Times, times
from plait.estimates.task import Task

__all__ = [
    "CONTEXT",
    "DARING",
    "FRAGMENTED",
    "RISK",
    "Estimates",
    "beyond",
    "estimate",
    "fullness",
    "interval",
    "most_risk",
    "reserved",
    "running_out",
]

CONTEXT = 2 * 2.0**30  # bytes: a CUDA context, NCCL's buffers, libraries' workspaces; planning.md: 1 to 3 GiB
FRAGMENTED = 0.05  # of what is allocated: PyTorch's allocator keeps that much that nobody can use; 3 to 10 %
RISK = 0.1  # the greatest probability of running out of memory with which a plan is proposed
DARING = 0.5  # with which it is, where no other is left
_MEMORY_SPREAD = 0.07  # standard deviation of predicted memory


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """A row a plan: `low` to `high` seconds a step, and the probability that the fullest rank runs out of memory."""

    times: Times
    memory: Bytes
    low: Column
    high: Column
    out_of_memory: Column


def estimate(task: Task, plans: Arrangements) -> Estimates:
    """What the plans would take and hold on the task's machines."""
    seconds, held = times(task, plans), memory(task, plans)
    wide = 1 + spread_of(task.machines.device, task.dtype)
    return Estimates(
        times=seconds,
        memory=held,
        low=seconds.step / wide,
        high=seconds.step * wide,
        out_of_memory=running_out(task, held.total, in_fullest_host(task, plans)),
    )


def running_out(task: Task, allocated: Column, in_host: Column | float = 0.0) -> Column:
    """The probability that memory runs out where a program allocates so many bytes on a device, and all ranks of a host
    so many in its memory: these are exact, and taken to fit where nobody knows how large that is."""
    risk = beyond(reserved(allocated), float(task.machines.device.memory_bytes))
    there = task.machines.host_memory_bytes
    return risk if there is None else np.where(in_host > there, 1.0, risk)


def fullness(task: Task, allocated: Column, in_host: Column | float = 0.0) -> Column:
    """The part of a device's memory that is needed, or of the host's where that is fuller: above 1 it does not fit."""
    on_device, there = reserved(allocated) / task.machines.device.memory_bytes, task.machines.host_memory_bytes
    return on_device if there is None else np.maximum(on_device, in_host / there)


def most_risk(*, daring: bool) -> float:
    """The probability of running out of memory up to which plans are proposed; `daring`: where none is safe."""
    return DARING if daring else RISK


def interval(seconds: float, spread: float) -> tuple[float, float]:
    """Where four of five steps lie that are predicted to take so long, and differ from that by such a part."""
    return seconds / (1 + spread), seconds * (1 + spread)


def reserved(allocated: Column) -> Column:
    """Bytes of a device that are taken where a program allocates so many."""
    return allocated * (1 + FRAGMENTED) + CONTEXT


def beyond(needed: Column | float, there: float) -> Column:
    """The probability that a need, normally distributed around the predicted one, is beyond what is there; by the
    logistic curve that stays within 0.01 of the normal one (Bowling et al. 2009)."""
    z = np.clip((needed - there) / (needed * _MEMORY_SPREAD), -8.0, 8.0)
    return 1 / (1 + np.exp(-(1.5976 * z + 0.07056 * z**3)))

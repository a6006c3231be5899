"""What it costs to keep the optimizer's state in host memory, and to update there, on machines that nobody profiled.

    out       gradient a │ gradient b │ gradient c        bytes of kept gradients / the device's link to its host
    update               │     a      │     b      │      state and gradients, read and written, / HOST_RATE
    back                              │  weight a  │      bytes of new weights / the same link, the other way

It is priced as `training.masters` performs it. Gradients leave once they are clipped, which is after the last backward,
and the next forward waits for every weight: nothing hides behind either. Of the three the longest is paid, and of the
others one batch. A rank's rate of updating is assumed, whoever shares its host's memory. It knows bytes, no layer.
"""

from __future__ import annotations

import numpy as np

from plait.estimates.arrangements import Column
from plait.estimates.task import Task
from plait.plans.offload import BATCH_BYTES, HOST_RATE
from plait.specs.catalogue import to_host_of

__all__ = ["bytes_in_host", "update_in_host"]


def bytes_in_host(task: Task) -> float:
    """Of each weight that a rank updates: a master, also where weights are as wide, moments, and a gradient."""
    return float(max(4, task.itemsize) * (1 + task.moments) + task.practice.gradient_bytes)


def update_in_host(task: Task, elements: Column) -> Column:
    """Seconds from gradients on a device to new weights there, of so many that a rank updates. The link to the host has
    to be known (`clusters.tasks` refuses offload where it is not)."""
    link = to_host_of(task.machines.device)
    assert link is not None, f"what joins {task.machines.device.name} to its host is not known"
    gradients = elements * task.practice.gradient_bytes
    out, back = gradients / link.bytes_per_second, elements * task.itemsize / link.bytes_per_second
    update = 2 * elements * bytes_in_host(task) / HOST_RATE
    longest = np.maximum(np.maximum(out, back), update)
    batches = np.maximum(np.ceil(gradients / BATCH_BYTES), 1)
    return longest + (out + update + back - longest) / batches

"""What it costs to keep the optimizer's state in host memory, and to update there, on machines that nobody profiled.

    out       gradient a │ gradient b │ gradient c        bytes of kept gradients / the device's link to its host
    update               │     a      │     b      │      state and gradients, read and written, / HOST_RATE
    back                              │  weight a  │      bytes of new weights / the same link, the other way

    in each host's memory    what all its ranks keep there: of several stages where it has several

It is priced as `training.masters` performs it. Gradients leave once they are clipped, which is after the last backward,
and the next forward waits for every weight: nothing hides behind either. Of the three the longest is paid, and of the
others one batch. A rank's rate of updating is assumed, whoever shares its host's memory.
"""

from __future__ import annotations

import numpy as np

from plait.estimates.arrangements import Arrangements, Column
from plait.estimates.task import Task
from plait.estimates.weights import Held, held_by
from plait.plans.offload import BATCH_BYTES, HOST_RATE
from plait.specs.catalogue import to_host_of

__all__ = ["bytes_in_host", "in_fullest_host", "kept_in_host", "update_in_host"]


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


def kept_in_host(task: Task, plans: Arrangements, held: Held) -> Column:
    """Bytes that a rank with these weights keeps in its host's memory; 0 without offload."""
    return np.where(plans.offload, bytes_in_host(task) * held.share(plans, 1), 0.0)


def in_fullest_host(task: Task, plans: Arrangements) -> Column:
    """Bytes in the memory of the host whose ranks keep most there, stages taken to be as even as blocks allow."""
    if not plans.offload.any():
        return np.zeros(len(plans))
    each, stage = np.minimum(task.machines.devices_per_node, plans.ranks), plans.ranks // plans.pipeline
    mean = task.model.layers / plans.pipeline
    first, middle, last = (
        np.where(
            stage < each,
            kept_in_host(task, plans, held_by(task, plans, place, mean)),
            kept_in_host(task, plans, held_by(task, plans, place)),
        )
        for place in ("first", "middle", "last")
    )
    both = (plans.pipeline > 1) & (plans.ranks == each)  # one host has the first stage and the last
    ends, own = np.where(both, first + last, np.maximum(first, last)), np.minimum(stage, each)
    return own * ends + (each - own * np.where(both, 2, 1)) * middle

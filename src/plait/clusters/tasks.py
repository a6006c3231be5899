"""What of a job is priced on machines of the catalogue, and what is refused in words because nobody can price it.

    job ──> Task(model, batch, dtype, machines)      one for each group of machines

It knows jobs and machines; of plans, the names of their keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plait.errors import UnusableInput
from plait.estimates.arrangements import RECOMPUTE, SCHEDULES
from plait.estimates.task import Task
from plait.specs.catalogue import to_host_of
from plait.specs.job import Job
from plait.specs.machines import Machines, machines_of
from plait.specs.training import PRECISIONS
from plait.specs.wording import shown

__all__ = ["GROUP_SCHEDULES", "require_priced", "task_on", "tasks_of"]

_MOMENTS = {"adamw": 2, "sgd": 1}
_ONLY = {  # keys of [plan], and the values with which they are priced here
    "synchronisation": ("all-reduce",),
    "compression": ("none",),
    "local_steps": (1,),
    "staleness": (0,),
    "servers": (0,),
    "schedule": SCHEDULES,
    "recompute": RECOMPUTE,
}
_SIXTEEN_BITS = ("bf16", "fp16")  # in the order in which they are taken
GROUP_SCHEDULES = ("1f1b", "gpipe")
_ON_GROUPS = {**_ONLY, "schedule": GROUP_SCHEDULES, "context": (1,), "expert": (1,), "virtual_stages": (1,)}


def tasks_of(job: Job) -> tuple[Task, ...]:
    """What is priced, for each group of machines of a job that was found legal.

    Raises UnusableInput for a choice that nobody can price there.
    """
    groups = machines_of(job.cluster)
    require_priced(job.constraints, groups)
    return tuple(task_on(job, machines) for machines in groups)


def require_priced(chosen: Mapping[str, Any], groups: Sequence[Machines]) -> None:
    """Raises UnusableInput where keys of [plan], fixed by a job or chosen by a plan, have no price on these machines of
    the catalogue."""
    equal = len(groups) == 1
    where = "machines of the catalogue" if equal else "unequal machines"
    for key, priced in (_ONLY if equal else _ON_GROUPS).items():
        value = chosen.get(key, priced[0])
        if value not in priced:
            legal = ", ".join(map(shown, priced))
            raise UnusableInput(f"{key} = {shown(value)} can't be priced on {where} yet; priced there: {legal}")
    for key in ("tensor_shares", "data_shares") if equal else ("tensor_shares",):
        shares: tuple[float, ...] = chosen.get(key, ())
        if len(set(shares)) > 1:
            raise UnusableInput(
                f"{key} = {shown(shares)} can't be priced on {where} yet: equal ones are; leave them out"
            )
    for device in (group.device for group in groups if chosen.get("offload", "none") != "none"):
        if to_host_of(device) is None:
            raise UnusableInput(
                f"offload = {shown(chosen['offload'])} can't be priced on {device.name}: how fast its link to its "
                "host's memory is was not published"
            )


def task_on(job: Job, machines: Machines) -> Task:
    """The job's step on these machines; in fp16 where that is their only format of 16 bits. Raises UnusableInput where
    their device does not multiply its precision."""
    dtype: str = PRECISIONS[job.training.precision].compute
    device = machines.device
    if dtype in _SIXTEEN_BITS:
        dtype = next((one for one in _SIXTEEN_BITS if device.peak(one) is not None), dtype)
    if device.peak(dtype) is None:
        known = [name for name in PRECISIONS if device.peak(PRECISIONS[name].compute) is not None]
        raise UnusableInput(
            f"{device.name} has no units for {dtype}: training.precision = {shown(job.training.precision)} can't be "
            f"priced there; priced: {', '.join(map(shown, known))}"
        )
    return Task(
        model=job.model,
        global_batch=job.training.global_batch,
        sequence=job.training.sequence_length,
        machines=machines,
        dtype=dtype,
        moments=_MOMENTS[job.training.optimizer],
    )

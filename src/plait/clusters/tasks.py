"""What of a job is priced on machines of the catalogue, and what is refused in words because nobody can price it.

    job ──> Task(model, batch, dtype, machines)      one for each group of machines

It knows jobs and machines, no plan.
"""

from __future__ import annotations

from plait.errors import UnusableInput
from plait.estimates.arrangements import RECOMPUTE, SCHEDULES
from plait.estimates.task import Task
from plait.specs.job import Job
from plait.specs.machines import Machines, machines_of
from plait.specs.training import PRECISIONS
from plait.specs.wording import shown

__all__ = ["require_priced", "task_on", "tasks_of"]

_MOMENTS = {"adamw": 2, "sgd": 1}
_ONLY = {  # keys of [plan], and the values with which they are priced here
    "synchronisation": ("all-reduce",),
    "compression": ("none",),
    "local_steps": (1,),
    "staleness": (0,),
    "servers": (0,),
    "offload": ("none",),
    "schedule": SCHEDULES,
    "recompute": RECOMPUTE,
}


def tasks_of(job: Job) -> tuple[Task, ...]:
    """What is priced, for each group of machines of a job that was found legal.

    Raises UnusableInput for a choice that nobody can price there.
    """
    require_priced(job)
    return tuple(task_on(job, machines) for machines in machines_of(job.cluster))


def require_priced(job: Job) -> None:
    """Raises UnusableInput where the job fixes what has no price on machines of the catalogue."""
    for key, priced in _ONLY.items():
        value = job.constraints.get(key, priced[0])
        if value not in priced:
            legal = ", ".join(map(shown, priced))
            raise UnusableInput(
                f"{key} = {shown(value)} can't be priced on machines of the catalogue yet; priced there: {legal}"
            )
    shares = job.constraints.get("tensor_shares", ())
    if isinstance(shares, tuple) and len(set(shares)) > 1:
        raise UnusableInput(
            f"tensor_shares = {shown(shares)} can't be priced on machines of the catalogue yet: equal ones are; leave "
            "them out"
        )


def task_on(job: Job, machines: Machines) -> Task:
    """The job's step on these machines. Raises UnusableInput where their device does not multiply its precision."""
    dtype = PRECISIONS[job.training.precision].compute
    device = machines.device
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

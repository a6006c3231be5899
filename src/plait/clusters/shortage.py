"""What devices of the catalogue hold at least, and changes of a job that lessen it, for `planner.remedies`.

freed keys │ more nodes │ a device with more memory │ offload, on as many nodes or more │ half a sequence
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from plait.clusters.explain import smallest
from plait.clusters.groups import found_on_groups
from plait.clusters.search import Found, found_on
from plait.clusters.tasks import tasks_of
from plait.errors import IllegalJob, UnusableInput
from plait.estimates.task import Task
from plait.planner.remedies import Change, Smallest, freed, shorter
from plait.planner.remedies import why_nothing_fits as in_words
from plait.plans.legality import is_legal
from plait.specs.devices import DEVICES
from plait.specs.job import Job
from plait.units import Bytes

__all__ = ["why_nothing_fits"]

_FREED = ("recompute", "zero", "microbatch", "sequence_parallel", "schedule", "virtual_stages", "stages", "expert",
          "context", "pipeline", "tensor", "data", "offload")  # fmt: skip
_TIMES = (2, 4, 8, 16, 32)  # as many nodes
_MOST_DEVICES = 16384


def why_nothing_fits(job: Job, tasks: Sequence[Task], found: Found) -> str:
    """The plan that comes nearest, its rank that dies first, what fills it, and the nearest changes that would fit."""
    one = _smallest(tasks, found)
    assert one is not None
    kinds = (freed(job, _FREED), _more_nodes(job), _larger_devices(job), _offloaded(job), shorter(job))
    return in_words(job, one, kinds, _smallest_of)


def _smallest_of(job: Job) -> Smallest | None:
    try:
        if not is_legal(job):
            return None
        tasks = tasks_of(job)
        found = found_on(job, tasks[0], places=1, shapes=1) if len(tasks) == 1 else found_on_groups(job, tasks)
        if found.plans and len(tasks) == 1:
            found = found_on(job, tasks[0])  # whether anything fits is known soon; which is the best, and its step, not
    except (UnusableInput, IllegalJob):
        return None
    one = _smallest(tasks, found)
    return replace(one, seconds=found.plans[0].seconds) if one is not None and found.plans else one


def _smallest(tasks: Sequence[Task], found: Found) -> Smallest | None:
    """The nearest to fitting; where some fit, the best."""
    one = found.plans[0] if found.plans else found.nearest
    return None if one is None else smallest(one, tasks)


def _more_nodes(job: Job) -> Iterator[Change]:
    cluster = job.cluster
    if cluster.groups or "data" in job.constraints:
        return
    each = cluster.ranks_a_node
    for nodes in (cluster.nodes * times for times in _TIMES):
        if nodes * each <= _MOST_DEVICES:
            larger = replace(cluster, nodes=nodes, ranks=nodes * each, devices_per_node=each)
            yield Change(replace(job, cluster=larger), f"nodes = {nodes} ({nodes * each} devices)")


def _offloaded(job: Job) -> Iterator[Change]:
    """With the optimizer's state in host memory, on the job's machines; or with that on more of them."""
    if "offload" in job.constraints:
        return
    moved = replace(job, constraints={**job.constraints, "offload": "optimizer"})
    yield Change(moved, words := 'plan.offload = "optimizer"')
    yield from (Change(more.job, f"{words} with {more.words}") for more in _more_nodes(moved))


def _larger_devices(job: Job) -> Iterator[Change]:
    mine = job.cluster.device
    if mine is None:
        return
    for size, name in sorted((one.memory_bytes, name) for name, one in DEVICES.items()):
        if size > DEVICES[mine].memory_bytes:
            cluster = replace(job.cluster, device=name, intra_link=None)
            yield Change(replace(job, cluster=cluster), f"device = {name} ({Bytes(size)})")

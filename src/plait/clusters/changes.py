"""What would change the answer: the same search on machines that are better in one thing; and where nothing fits, the
nearest change of the job with which something would.

    twice the links between hosts, twice those inside, twice the memory      faster by how much, and by which plan
    nothing fits      a key that the job fixes left open, more nodes, a device with more memory, shorter sequences
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from plait.clusters.contest import contest
from plait.clusters.groups import found_on_groups
from plait.clusters.played import Played
from plait.clusters.search import Found, found_on
from plait.clusters.space import space_of
from plait.clusters.tasks import tasks_of
from plait.clusters.unequal import played_on_groups
from plait.errors import IllegalJob, UnusableInput
from plait.estimates.task import Task
from plait.plans.legality import is_legal
from plait.plans.plan import Plan
from plait.specs.cluster import ClusterSpec
from plait.specs.devices import DEVICES
from plait.specs.hardware import HostLink
from plait.specs.job import Job
from plait.specs.machines import Machines
from plait.specs.wording import shown
from plait.units import Bytes

__all__ = ["Change", "changes", "what_would_fit"]

_TWICE = 2
_PLACES, _SHAPES = 64, 4  # of a search for one number
_FREED = ("recompute", "zero", "microbatch", "sequence_parallel", "schedule", "virtual_stages", "stages", "expert",
          "context", "pipeline", "tensor", "data")  # fmt: skip
_TOLD = 3
_MOST_DEVICES = 16384


@dataclass(frozen=True, kw_only=True)
class Change:
    """What would be different, the seconds of the best step then, and the plan of that step."""

    what: str
    step_seconds: float
    plan: Plan


def changes(job: Job, tasks: Sequence[Task], found: Found) -> tuple[Change, ...]:
    """What each improvement of the machines would bring. Of unequal machines: to the plans that were found."""
    told: list[Change] = []
    for what, better in _improvements(tasks):
        improved = [replace(task, machines=better(task.machines)) for task in tasks]
        best = _again(job, improved, found)
        told.append(Change(what=what, step_seconds=best.seconds, plan=best.plan))
    return tuple(told)


def _again(job: Job, tasks: Sequence[Task], found: Found) -> Played:
    if len(tasks) > 1:
        return min((played_on_groups(one.plan, tasks) for one in found.plans), key=lambda one: one.seconds)
    return found_on(job, tasks[0], places=_PLACES, shapes=_SHAPES).plans[0]


def _improvements(tasks: Sequence[Task]) -> Iterator[tuple[str, Callable[[Machines], Machines]]]:
    machines = [task.machines for task in tasks]
    if len(machines) > 1 or machines[0].nodes > 1:
        yield "the links between hosts twice as fast", lambda one: replace(one, between=_faster(one.between))
    if any(one.devices_per_node > 1 for one in machines):
        yield "the links inside a host twice as fast", lambda one: replace(one, inside=_faster(one.inside))
    yield "twice the memory", _larger


def _faster(link: HostLink) -> HostLink:
    return replace(link, peak=link.peak * _TWICE)


def _larger(one: Machines) -> Machines:
    return replace(one, device=replace(one.device, memory_bytes=one.device.memory_bytes * _TWICE))


# ---- where nothing fits ---------------------------------------------------------------------------------------------


def what_would_fit(job: Job) -> str:
    """The nearest changes with which some plan fits, in words; empty where none was found."""
    found: list[str] = []
    for kind in (_freed(job), _more_nodes(job), _larger_devices(job), _shorter(job)):
        first = next((words for words, changed in kind if _something_fits(changed)), None)
        if first is not None:
            found.append(first)
    return "; or ".join(found[:_TOLD])


def _something_fits(job: Job) -> bool:
    try:
        if not is_legal(job):
            return False
        tasks = tasks_of(job)
        if len(tasks) == 1:
            return len(contest(space_of(job), tasks[0], 1).seconds) > 0
        return bool(found_on_groups(job, tasks).plans)
    except (UnusableInput, IllegalJob):
        return False


def _freed(job: Job) -> Iterator[tuple[str, Job]]:
    for key in _FREED:
        if key in job.constraints:
            left = {name: value for name, value in job.constraints.items() if name != key}
            yield f"plan.{key} left open (it is fixed at {shown(job.constraints[key])})", replace(job, constraints=left)


def _more_nodes(job: Job) -> Iterator[tuple[str, Job]]:
    cluster = job.cluster
    if cluster.groups or "data" in job.constraints:
        return
    for factor in (2, 4, 8, 16, 32):
        nodes = cluster.nodes * factor
        if nodes * cluster.ranks_a_node <= _MOST_DEVICES:
            yield (
                f"nodes = {nodes} ({nodes * cluster.ranks_a_node} devices)",
                replace(job, cluster=_with(cluster, nodes)),
            )


def _with(cluster: ClusterSpec, nodes: int) -> ClusterSpec:
    return replace(cluster, nodes=nodes, ranks=nodes * cluster.ranks_a_node, devices_per_node=cluster.ranks_a_node)


def _larger_devices(job: Job) -> Iterator[tuple[str, Job]]:
    mine = job.cluster.device
    if mine is None:
        return
    larger = sorted((one.memory_bytes, name) for name, one in DEVICES.items())
    for size, name in larger:
        if size > DEVICES[mine].memory_bytes:
            links = {"device": name, "intra_link": None}
            yield f"device = {name} ({Bytes(size)})", replace(job, cluster=replace(job.cluster, **links))


def _shorter(job: Job) -> Iterator[tuple[str, Job]]:
    length = job.training.sequence_length
    for part in (2, 4, 8):
        if length % part == 0:
            yield (
                f"sequence_length = {length // part}",
                replace(job, training=replace(job.training, sequence_length=length // part)),
            )

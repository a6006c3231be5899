"""What a user is told of a job for machines of the catalogue: what this Plait plans there but can't run yet, and what
of the machines was taken for granted, since the job does not say it.

    model.experts       planned, not run: no part runs it yet
    model.huggingface   read as the nearest shape, which leaves some of the configuration's fields alone
    training.precision  taken for fp32, where devices have units for 16 bits
    cluster.inter_link  taken for ib-hdr-x8, as a100-80gb usually has it
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from plait.errors import Problem, UnusableInput
from plait.specs.choices import judge
from plait.specs.cluster import ClusterSpec, GroupSpec
from plait.specs.job import Job
from plait.specs.machines import Machines, groups_of, machines_of
from plait.specs.model import ModelSpec
from plait.specs.wording import counted, shown

__all__ = ["Caution", "another_model", "on_this_machine", "planned_only", "require_this_machine"]


@dataclass(frozen=True, kw_only=True)
class Caution:
    """A key of the job, and what is odd about its value."""

    key: str
    message: str


def planned_only(job: Job, left_out: frozenset[str] = frozenset()) -> list[Caution]:
    """Everything of a job for other machines that can't be run yet, or that no key says, and everything that was taken
    for granted. `left_out`: keys of `[training]` that nobody wrote."""
    plain = _in_fp32(job) if "training.precision" in left_out else ()
    return [*_left_alone(job), *_not_run(job), *plain, *_taken_for_granted(job.cluster)]


def another_model(job: Job) -> list[Problem]:
    """What is wrong with a job that was read for other machines and is to be run, or proven, on this one: the network
    here would not be the one whose configuration was read."""
    if job.cluster.elsewhere or not job.left_alone:
        return []
    message = f"of the model's configuration is left alone: {'; '.join(job.left_alone)}; not built yet on this machine"
    return [Problem(key="model.huggingface", message=message, legal="a model without")]


def on_this_machine(job: Job) -> Job:
    """The job with its ranks on this machine: where a proof is asked for, whose matter is the plan and no hardware."""
    return replace(job, cluster=ClusterSpec(ranks=job.cluster.ranks)) if job.cluster.elsewhere else job


def require_this_machine(job: Job) -> None:
    """Raises UnusableInput for a job that is for machines of the catalogue: nothing is measured or run on them."""
    if job.cluster.elsewhere:
        names = ", ".join(dict.fromkeys(group.device for group in groups_of(job.cluster)))
        raise UnusableInput(
            f"this job is for {counted(job.cluster.ranks, 'device')} of the catalogue ({names}), and this machine is "
            "not them: leave device (or groups) out of [cluster] to use it here; `plait plan` says what would run there"
        )


def _left_alone(job: Job) -> Iterator[Caution]:
    if job.left_alone:
        message = f"the nearest shape that has words is planned for; left alone: {'; '.join(job.left_alone)}"
        yield Caution(key="model.huggingface", message=message)


def _not_run(job: Job) -> Iterator[Caution]:
    shape = {part.name: getattr(job.model, part.name) for part in fields(ModelSpec)}
    defaults = {part.name: part.default for part in fields(ModelSpec)}
    said = {f"model.{name}": value for name, value in shape.items() if value not in (None, defaults[name])}
    said |= {f"plan.{name}": value for name, value in job.constraints.items()}
    for key, value in said.items():
        if judge(key, value) is not None and judge(key, value, here=False) is None:
            name = key.rpartition(".")[2]
            what = name if isinstance(value, tuple) or hasattr(value, "__dict__") else f"{name} = {shown(value)}"
            yield Caution(key=key, message=f"{what} is planned for, and can't be run by this Plait yet")


def _in_fp32(job: Job) -> Iterator[Caution]:
    """A job that says nothing of its precision is in fp32, which is rarely what its devices are bought for."""
    for device in {machines.device.name: machines.device for machines in machines_of(job.cluster)}.values():
        plain, units = device.peak("fp32"), device.peak("bf16") or device.peak("fp16")
        if plain and units:
            message = f'precision is left out: taken for fp32; in "bf16" {device.name} multiplies {units / plain:.0f}'
            yield Caution(key="training.precision", message=f"{message} times as fast")


def _taken_for_granted(cluster: ClusterSpec) -> Iterator[Caution]:
    said = cluster.groups or (GroupSpec(device=cluster.device or "", devices_per_node=cluster.devices_per_node),)
    table = "cluster.groups" if cluster.groups else "cluster"
    told: set[str] = set()
    for group, machines in zip(said, machines_of(cluster), strict=True):
        for key, what in _assumed(group, cluster, machines):
            message = f"{key} is left out: taken for {what}, as machines with {machines.device.name} usually have"
            if message not in told:
                yield Caution(key=f"{table}.{key}", message=message)
            told.add(message)


def _assumed(group: GroupSpec, cluster: ClusterSpec, machines: Machines) -> Iterator[tuple[str, str]]:
    if group.devices_per_node is None:
        yield "devices_per_node", str(machines.devices_per_node)
    if machines.devices_per_node > 1 and not (group.intra_link or cluster.intra_link):
        yield "intra_link", machines.inside.name
    if cluster.nodes > 1 and not (group.inter_link or cluster.inter_link):
        yield "inter_link", machines.between.name

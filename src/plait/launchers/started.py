"""What torchrun has started, as a job sees it: on how many ranks and hosts it is to run.

It reads the environment (`torchrun`), and talks to nobody.
"""

from __future__ import annotations

from dataclasses import replace

from plait.errors import UnusableInput
from plait.launchers.torchrun import place
from plait.plans.completion import with_most_ranks
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.wording import counted

__all__ = ["hosts_of", "on_started_ranks", "require_hosts", "started_hosts"]


def on_started_ranks(job: Job) -> Job:
    """The job on ranks of ours: where it left open how many, those that torchrun has started, or the most that fit.
    Where torchrun has started as many as it asks for, and it names no nodes, they stand on torchrun's hosts."""
    started = _started_cluster(job.cluster)
    if job.cluster.ranks_open:
        return with_most_ranks(job) if started is None else replace(job, cluster=started)
    asked = job.cluster
    if started is None or asked.elsewhere or asked.nodes > 1 or started.ranks != asked.ranks:
        return job
    return replace(job, cluster=started)


def _started_cluster(asked: ClusterSpec) -> ClusterSpec | None:
    """The ranks that torchrun has started, on its hosts; None without it."""
    where = place()
    if where is None:
        return None
    if (
        where.hosts == 1 or where.hosts * where.local_size != where.size
    ):  # of unequal hosts nobody knows what stands where
        return replace(asked, ranks=where.size)
    return replace(asked, ranks=where.size, nodes=where.hosts, devices_per_node=where.local_size)


def require_hosts(nodes: int) -> None:
    """Raises UnusableInput where a run is to have other hosts than the program was started on."""
    if nodes > 1 and nodes != (hosts := started_hosts()):
        raise UnusableInput(
            f"cluster.nodes = {nodes}, and this runs on {counted(hosts, 'host')}: start it on each of them with "
            f"`torchrun --nnodes {nodes} ...` (docs/several_hosts.md), or leave nodes out"
        )


def hosts_of(job: Job) -> int:
    """On how many hosts a job stands: those that it names, or those that torchrun has started."""
    return max(job.cluster.nodes, started_hosts())


def started_hosts() -> int:
    """On how many hosts, taken to be alike."""
    where = place()
    return 1 if where is None else where.hosts

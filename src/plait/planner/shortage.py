"""What ranks of this machine hold at least, and changes of a job that lessen it, for `remedies`.

    freed keys │ offload │ 2, 4, … times as many ranks │ half a sequence

A changed job's plans are those with the smallest microbatches, and its step no longer than that of the one that needs
least. It knows what ranks hold, and how long a step takes where it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from plait.errors import UnusableInput
from plait.planner.by_rank import ByRank
from plait.planner.candidates import candidates
from plait.planner.fewer import (
    MORE_RANKS,
    SHORTER,
    SMALLER_MODEL,
    STATES,
    Case,
    Remedy,
    always,
    fewer,
    no_compression,
    ranks_along,
    sequence_parallel,
    sgd,
    smaller_microbatch,
    zero,
)
from plait.planner.memory import Memory
from plait.planner.prices import JobPrices
from plait.planner.remedies import Change, Smallest, dies_first, freed, shorter
from plait.planner.remedies import why_nothing_fits as in_words
from plait.planner.simulator import Played, fullness, in_fullest_host, memories, needed, played, risk
from plait.plans.completion import filled
from plait.plans.legality import is_legal
from plait.plans.plan import Plan
from plait.specs.job import Job
from plait.specs.measurements import Measurements

__all__ = ["too_large", "why_nothing_fits"]

_FEWER: dict[str, tuple[Remedy, ...]] = {
    **STATES,
    "host": (zero(1), MORE_RANKS, sgd, SMALLER_MODEL, always("no offload")),
    "residuals": (no_compression, MORE_RANKS, SMALLER_MODEL),
    "activations": (sequence_parallel, smaller_microbatch, MORE_RANKS, SHORTER),
    "logits": (smaller_microbatch, ranks_along("tensor"), SHORTER, always("a smaller vocabulary")),
    "messages": (smaller_microbatch, SHORTER),
}
_FREED = ("zero", "microbatch", "sequence_parallel", "schedule", "data", "tensor", "pipeline")
_TIMES = (2, 4, 8, 16, 32, 64)  # as many ranks
_DEGREES = ("data", "tensor", "pipeline", "stages", "tensor_shares", "data_shares")


def why_nothing_fits(job: Job, plans: Sequence[Played], measurements: Measurements, prices: JobPrices) -> str:
    """The plan that comes nearest, its rank that dies first, what fills it, and the nearest changes that would fit."""

    def smallest_of(changed: Job) -> Smallest | None:
        own = JobPrices(changed.model, changed.training, measurements, changed.cluster)
        one = _smallest(_least(changed, own), own)
        return _timed(one, own) if one is not None and one.fits else one

    nearest = min(plans, key=lambda one: fullness(one.memory, prices))
    one = _filled(nearest.plan, nearest.memory, prices)
    on_cpu = measurements.host is not None and measurements.host.device == "cpu"
    return in_words(
        job, one, (freed(job, _FREED), _offloaded(job), _more_ranks(job, on_cpu), shorter(job)), smallest_of
    )


def too_large(one: Played, prices: JobPrices) -> str:
    """What a plan that does not fit needs, on the rank that dies first, and of which bytes most is."""
    return dies_first(_filled(one.plan, one.memory, prices))


def _smallest(plans: Iterator[tuple[Plan, ByRank[Memory]]], prices: JobPrices) -> Smallest | None:
    nearest = min(plans, key=lambda one: fullness(one[1], prices), default=None)
    return None if nearest is None else _filled(*nearest, prices)


def _timed(one: Smallest, prices: JobPrices) -> Smallest:
    """With the step of that plan, which that of the job's best is no longer than; unknown where no link is."""
    try:
        return replace(one, seconds=played(one.plan, prices).step.seconds, bound=True)
    except UnusableInput:
        return one


def _filled(plan: Plan, by_rank: ByRank[Memory], prices: JobPrices) -> Smallest:
    shared = prices.machine.shares_memory
    memory, machine, in_host = tuple(by_rank), prices.machine, in_fullest_host(by_rank, prices)
    case = Case(plan, prices.model, adamw=prices.training.optimizer == "adamw", apart=not shared)
    rank = _fullest(prices, [one.total for one in memory], hosts=shared)
    kind = memory[rank].dominant
    on_device = Smallest(
        plan=plan,
        risk=risk(by_rank, prices),
        rank=rank,
        held=machine.taken(memory[rank].total),
        kind=kind,
        most=getattr(memory[rank], kind),
        fewer=fewer(_FEWER[kind], case),
        room=machine.memory_bytes or 0,
        whose="they share" if shared else "a device has",
        together=needed(by_rank, prices) if shared else None,
        sharing="all ranks of a host" if len(list(machine.hosts(memory))) > 1 else "all ranks",
        in_host=in_host,
    )
    if machine.host_memory_bytes is None or in_host <= machine.host_memory_bytes:
        return on_device
    rank = _fullest(prices, [one.host for one in memory], hosts=True)
    held = memory[rank].host
    return replace(
        on_device, rank=rank, held=held, kind="optimizer", most=held, fewer=fewer(_FEWER["host"], case),
        room=machine.host_memory_bytes, whose="their host has", together=in_host, in_host=0,
    )  # fmt: skip


def _fullest(prices: JobPrices, held: Sequence[int], *, hosts: bool) -> int:
    """The rank that holds most, where `hosts` counts of the host whose ranks together hold most."""
    ranks = range(len(held))
    among = max(prices.machine.hosts(ranks), key=lambda own: sum(held[rank] for rank in own)) if hosts else ranks
    return max(among, key=lambda rank: held[rank])


def _least(job: Job, prices: JobPrices) -> Iterator[tuple[Plan, ByRank[Memory]]]:
    """What plans with the smallest microbatches hold."""
    least = job if "microbatch" in job.constraints else replace(job, constraints={**job.constraints, "microbatch": 1})
    for choices in candidates(least):
        asked = replace(least, constraints={**least.constraints, **choices})
        if is_legal(asked):
            plan = prices.settled(filled(asked), asked.constraints)
            yield plan, memories(plan, prices)


def _offloaded(job: Job) -> Iterator[Change]:
    if "offload" not in job.constraints:
        keys = {**job.constraints, "offload": "optimizer"}
        yield Change(replace(job, constraints=keys), 'plan.offload = "optimizer"')


def _more_ranks(job: Job, on_cpu: bool) -> Iterator[Change]:
    free = {key: value for key, value in job.constraints.items() if key not in _DEGREES}
    for times in _TIMES:
        several = on_cpu or job.cluster.devices_per_node is not None
        nodes = job.cluster.nodes * (times if several else 1)
        cluster = replace(job.cluster, ranks=job.cluster.ranks * times, nodes=nodes)
        where = f" on {nodes} hosts like this one" if nodes > 1 else ""
        yield Change(replace(job, cluster=cluster, constraints=free), f"{cluster.ranks} ranks{where}")

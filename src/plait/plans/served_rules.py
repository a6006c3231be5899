"""The rules of a parameter server: its keys mean nothing without it, and not everything goes with it.

servers      leave a data rank that works (judged by `data` where that is fixed, however many ranks there will be)
always       no zero (it shares out the same things), no compression
staleness    not 0: nothing that needs one order of updates: copies on several ranks, equal runs, shares of the batch;
             and no offload, since its servers have what they update in host memory already
"""

from __future__ import annotations

from collections.abc import Callable

from plait.plans.arrangements import applies_portions, degree, fixed_list, most, servers_alone
from plait.plans.rule import Breach, Remedy, Rule
from plait.specs.job import Job
from plait.specs.wording import counted, shown

__all__ = ["SERVED_RULES"]

_SERVED = "parameter-server"
_HOW = "plan.synchronisation"
_OF_SERVERS = frozenset({"plan.servers", _HOW, "plan.data", "plan.data_shares"})
_WAITS: Remedy = ("plan.staleness", (0,))


def _how(job: Job) -> object:
    return job.constraints.get("synchronisation", "all-reduce")


def _of_a_server(key: str) -> Rule:
    """A key that says nothing but to a parameter server."""
    name = key.removeprefix("plan.")

    def holds(job: Job) -> bool:
        return _how(job) == _SERVED or not job.constraints.get(name)

    def breach(job: Job) -> Breach:
        return Breach(
            key=key,
            message=f"{name} = {job.constraints[name]} with synchronisation = {shown(_how(job))}, which has no servers",
            remedies=((_HOW, (_SERVED,)), (key, (0,))),
            legal="0",
        )

    return Rule(reads=frozenset({key, _HOW}), holds=holds, breach=breach)


def _not_served(key: str, nothing: object, why: str) -> Rule:
    """A key that has to stay at `nothing` under a parameter server."""
    name = key.removeprefix("plan.")

    def holds(job: Job) -> bool:
        return _how(job) != _SERVED or job.constraints.get(name, nothing) == nothing

    def breach(job: Job) -> Breach:
        return Breach(
            key=key,
            message=f"{name} = {shown(job.constraints[name])} with synchronisation = {shown(_SERVED)}: {why}",
            remedies=((key, (nothing,)), (_HOW, ("all-reduce",))),
            legal=shown(nothing),
        )

    return Rule(reads=frozenset({key, _HOW}), holds=holds, breach=breach)


def _most_replicas(job: Job) -> int:
    return degree(job, "data") or job.cluster.ranks


def _somebody_works(job: Job) -> bool:
    return not servers_alone(job) or servers_alone(job) < _most_replicas(job)


def _data_is_fixed(job: Job) -> bool:
    return degree(job, "data") is not None


def _nobody_works(job: Job) -> Breach:
    alone, data = servers_alone(job), degree(job, "data")
    of = f"data = {data}" if data else counted(job.cluster.ranks, "rank")
    return Breach(
        key="plan.servers",
        message=f"servers = {alone} of {of} only serve: none is left that works",
        remedies=(("plan.servers", range(_most_replicas(job) - 1, -1, -1)), ("plan.data", (alone + 1,))),
        legal=f"0 to {_most_replicas(job) - 1}",
    )


def _in_one_order(reads: str, fine: Callable[[Job], bool], told: Callable[[Job], tuple[str, Remedy]]) -> Rule:
    """What needs all ranks to apply the same updates in the same order. `told`: what is asked for and what it needs,
    and what else would mend it."""

    def holds(job: Job) -> bool:
        return not applies_portions(job) or fine(job)

    def breach(job: Job) -> Breach:
        words, remedy = told(job)
        staleness = job.constraints["staleness"]
        return Breach(
            key="plan.staleness",
            message=f"staleness = {staleness} applies portions in the order in which they come: {words}",
            remedies=(_WAITS, remedy),
            legal="0",
        )

    keys = frozenset({"plan.staleness", _HOW, *reads.split()})
    return Rule(reads=keys, holds=holds, breach=breach)


def _copies(axis: str) -> Callable[[Job], bool]:
    return lambda job: (degree(job, axis) or 1) <= 1 or most(job, axis) > 1


def _equal_shares(job: Job) -> bool:
    return len(set(fixed_list(job, "data_shares"))) <= 1


def _tensor(job: Job) -> tuple[str, Remedy]:
    words = f"what the tensor = {degree(job, 'tensor')} ranks hold alike (norms, biases) would part"
    return words, ("plan.tensor", (1,))


def _tied(job: Job) -> tuple[str, Remedy]:
    words = f"the embedding that the first and last of pipeline = {degree(job, 'pipeline')} stages share would part"
    words += "; tie_embeddings = false, or pipeline = 1, leaves none to share"
    return words, ("model.tie_embeddings", (False,))


def _repeatable(job: Job) -> tuple[str, Remedy]:
    return "training.deterministic = true promises equal runs", ("training.deterministic", (False,))


def _on_the_device(job: Job) -> bool:
    return not applies_portions(job) or job.constraints.get("offload", "none") == "none"


def _served_from_the_host(job: Job) -> Breach:
    return Breach(
        key="plan.offload",
        message=f'offload = "optimizer" with staleness = {job.constraints["staleness"]}: servers that apply portions as'
        " they come have what they update in host memory already",
        remedies=(("plan.offload", ("none",)), _WAITS),
        legal='"none"',
    )


def _dealt(job: Job) -> tuple[str, Remedy]:
    shares = fixed_list(job, "data_shares")
    words = f"a portion goes to who asks for it, so that data_shares = {shown(shares)} would be nobody's"
    return words, ("plan.data_shares", ((1,) * len(shares),))


SERVED_RULES = (
    _of_a_server("plan.staleness"),
    _of_a_server("plan.servers"),
    _not_served("plan.zero", 0, "what it shares out is shared out over the servers already"),
    _not_served("plan.compression", "none", "what a server is sent travels whole"),
    Rule(
        reads=_OF_SERVERS,
        holds=lambda job: not _data_is_fixed(job) or _somebody_works(job),
        breach=_nobody_works,
    ),
    Rule(
        reads=_OF_SERVERS | {"cluster.ranks"},
        holds=lambda job: _data_is_fixed(job) or _somebody_works(job),
        breach=_nobody_works,
    ),
    Rule(reads=frozenset({"plan.offload", "plan.staleness", _HOW}), holds=_on_the_device, breach=_served_from_the_host),
    _in_one_order("plan.tensor plan.tensor_shares", _copies("tensor"), _tensor),
    _in_one_order("plan.pipeline plan.stages model.tie_embeddings", _copies("pipeline"), _tied),
    _in_one_order("plan.data_shares", _equal_shares, _dealt),
    _in_one_order("training.deterministic", lambda job: not job.training.deterministic, _repeatable),
)

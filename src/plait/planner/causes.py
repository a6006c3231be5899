"""Why a plan pays more for something than the one beside it: the keys in which the two differ, and what these do.

    data 2, microbatch 4, ZeRO 3      beside data 2, microbatch 8, ZeRO 1
    computing                         microbatch 4, ZeRO 3: smaller operations, weights put together at each use
    along data                        ZeRO 3, microbatch 4: exposed communication along data
    update                            ZeRO 3: …

What both have alike is never named, and of what they differ in only what bears on the thing. It knows plans, and how
long they compute at what; which of it makes a plan lose is `explain`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import NamedTuple

from plait.plans.differences import WORDS, differing
from plait.plans.plan import Plan
from plait.plans.reductions import MET_EACH_ROUND
from plait.sharding.mesh_shape import AXES

__all__ = ["Work", "along", "computing", "dealing", "serving", "unevenly", "updating", "waiting"]

_TOLD = 0.1  # of all that a plan computes longer: what is less is not named


class Work(NamedTuple):
    """Seconds that a plan's ranks compute in a step, all together: operations of its layers, and its chores
    (`step_cost.Chores`)."""

    operations: float
    collecting: float
    fetching: float
    acting: float


# beside the degree of an axis, what decides which messages go along it, and how often
_TRAVELS = {
    "data": ("zero", "synchronisation", "local_steps", "staleness", "servers", "compression"),
    "tensor": ("sequence_parallel", "tensor_shares", "microbatch"),
    "pipeline": ("schedule", "virtual_stages", "sequence_parallel", "microbatch"),
}
_WAITS = ("pipeline", "schedule", "virtual_stages", "microbatch")
_ACTS = ("tensor", "pipeline", "schedule", "virtual_stages", "microbatch")
_OPERATES = ("tensor", "tensor_shares", "sequence_parallel", "microbatch")
_COLLECTS = ("data", "tensor", "tensor_shares", "pipeline", "zero", "microbatch")
_UPDATES = ("data", "tensor", "pipeline", "zero", "synchronisation", "staleness", "servers", "offload")


# ---- what follows from them -----------------------------------------------------------------------------------------


def along(axis: str, plan: Plan, other: Plan) -> str:
    """What makes communication along an axis dearer, and what it is."""
    size, others = plan.mesh.size(axis), other.mesh.size(axis)
    if others == 1:  # all of it
        return f"{axis} {size}: exposed communication"
    keys = [axis, *_TRAVELS[axis]]
    if axis == "data" and max(plan.sharding_level, other.sharding_level) >= MET_EACH_ROUND:
        keys.append("microbatch")
    if size == others:  # but of other parts of the model
        keys += [one for one in AXES if one != axis]
    return f"{_listed(differing(plan, other, keys))}: exposed communication along {axis}"


def waiting(plan: Plan, other: Plan) -> str:
    """What makes a bubble larger."""
    if other.pipeline == 1:
        return f"pipeline {plan.pipeline}"
    return _listed(differing(plan, other, [*_WAITS, *(["data"] if plan.pipeline == other.pipeline else [])]))


def unevenly(plan: Plan, other: Plan) -> str:
    """What makes uneven stages dearer, as the beginning of a sentence about the slowest."""
    stages = WORDS["stages"](plan)
    found = _listed(differing(plan, other, ["stages"]))
    return f"{stages}: the slowest" if found == stages else f"{found}: the slowest of {stages}"


def dealing(plan: Plan, other: Plan) -> str:
    """What makes rows dearer that are not dealt out as fast as replicas compute."""
    return _listed(differing(plan, other, ["data", "data_shares", "servers"]))


def serving(plan: Plan, other: Plan) -> str:
    """What makes ranks dearer that only serve."""
    return _listed(differing(plan, other, ["data", "synchronisation", "servers"]))


def computing(plan: Plan, other: Plan, work: Work, others: Work) -> str:
    """What makes all ranks together compute longer, the most of it first."""
    longer = sorted(zip((own - rival for own, rival in zip(work, others, strict=True)), _LONGER, strict=True),
                    key=lambda one: -one[0])  # fmt: skip
    least = _TOLD * sum(seconds for seconds, _ in longer if seconds > 0)
    told = [why(plan, other) for seconds, why in longer if seconds >= least]
    keys = dict.fromkeys(chain.from_iterable(names for names, _ in told))
    return f"{_listed(keys)}: {_listed(words for _, words in told)}"


def updating(plan: Plan, other: Plan, kept: int, others: int) -> str:
    """What makes an update longer; `kept`: elements of the rank with the most of them."""
    if plan.offloads and not other.offloads:
        return "offload: updates in host memory"
    if plan.asynchronous and not other.asynchronous:
        return f"staleness {plan.staleness}: an update for each portion of a step"
    if kept > others:
        return _keeping_more(plan, other)
    if plan.sharding_level < MET_EACH_ROUND <= other.sharding_level:  # which has no place for the others
        return f"{_listed(differing(plan, other, ['zero', 'data']))}: zeros for all gradients"
    return f"{_listed(differing(plan, other, _UPDATES))}: a longer update"


def _keeping_more(plan: Plan, other: Plan) -> str:
    """Weights are shared out over stages, tensor ranks, and under ZeRO over replicas."""
    fewer = [f"{axis} {plan.mesh.size(axis)}" for axis in ("tensor", "pipeline")
             if plan.mesh.size(axis) < other.mesh.size(axis)]  # fmt: skip
    if other.sharding_level and not plan.sharding_level:
        alone = differing(plan, other, ("zero", "synchronisation") if plan.data > 1 else ("data",))
        if plan.data > 1 and not fewer:
            return f"{_listed(alone)}: each replica updates all of its weights"
        fewer += alone
    elif plan.sharding_level and len(plan.keepers) < len(other.keepers):
        fewer += differing(plan, other, ("data", "servers"))
    names = fewer or differing(plan, other, ("schedule", "virtual_stages", "stages", "tensor_shares", "servers"))
    return f"{_listed(names)}: more weights on a rank to update"


_Why = tuple[list[str], str]  # keys in words, and what these do


def _operations(plan: Plan, other: Plan) -> _Why:
    smaller = _words(plan, {
        "tensor": plan.tensor > other.tensor,
        "sequence_parallel": plan.sequence_parallel > other.sequence_parallel,
        "microbatch": plan.microbatch < other.microbatch,
    })  # fmt: skip
    return (smaller, "smaller operations") if smaller else (differing(plan, other, _OPERATES), "slower operations")


def _collecting(plan: Plan, other: Plan) -> _Why:
    pieces = plan.sharding_level >= MET_EACH_ROUND > other.sharding_level
    often = plan.microbatch < other.microbatch
    names = _words(plan, {_sharing(plan, other): pieces, "microbatch": often})
    words = {
        (True, True): "gradients kept in pieces and added up more often",
        (True, False): "gradients kept in pieces",
        (False, True): "gradients added up more often",
        (False, False): "gradients added up more slowly",
    }
    return names or differing(plan, other, _COLLECTS), words[pieces, often]


def _fetching(plan: Plan, other: Plan) -> _Why:
    if plan.sharding_level != other.sharding_level:
        return _words(plan, {_sharing(plan, other): True}), "weights put together at each use"
    return differing(plan, other, ("data", "microbatch", *_WAITS)), "weights put together more often"


def _acting(plan: Plan, other: Plan) -> _Why:
    more = _words(plan, {
        "tensor": plan.tensor > other.tensor,
        "pipeline": plan.pipeline > other.pipeline,
        "virtual_stages": plan.virtual_stages > other.virtual_stages,
        "schedule": plan.divides_backward > other.divides_backward,
        "microbatch": plan.microbatch < other.microbatch,
    })  # fmt: skip
    return more or differing(plan, other, _ACTS), "more actions"


_LONGER: tuple[Callable[[Plan, Plan], _Why], ...] = (_operations, _collecting, _fetching, _acting)  # as in `Work`


def _sharing(plan: Plan, other: Plan) -> str:
    """The key by which a plan shares out more than the other, which may have its level of ZeRO and no replicas."""
    return "data" if plan.zero == other.zero else "zero"


def _words(plan: Plan, keys: dict[str, bool]) -> list[str]:
    return [words for key, holds in keys.items() if holds and (words := WORDS[key](plan))]


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)

"""Why a plan pays more for something than the one beside it: the keys in which the two differ, and what these do.

    data 2, microbatch 4, ZeRO 3      beside data 2, microbatch 8, ZeRO 1
    computing                         microbatch 4, ZeRO 3: smaller operations, weights put together at each use
    along data                        ZeRO 3, microbatch 4: exposed communication along data
    update                            ZeRO 3: …

What both have alike is never named, and of what they differ in only what bears on the thing. It knows plans, and how
long they compute at what; which of it makes a plan lose is `explain`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from plait.plans.plan import Plan
from plait.plans.reductions import MET_EACH_ROUND
from plait.sharding.mesh_shape import AXES
from plait.specs.grids import is_grid
from plait.units import Bytes

__all__ = ["Work", "along", "computing", "differing", "unevenly", "updating", "waiting"]

_TOLD = 0.1  # of all that a plan computes longer: what is less is not named


class Work(NamedTuple):
    """Seconds that a plan's ranks compute in a step, all together: operations of its layers, and its chores
    (`step_cost.Chores`)."""

    operations: float
    collecting: float
    fetching: float
    acting: float


# ---- keys, as a reason names them; nothing where a plan has no use for one ------------------------------------------


def _degree(axis: str) -> Callable[[Plan], str]:
    return lambda plan: f"{axis} {plan.mesh.size(axis)}"


def _of_replicas(words: Callable[[Plan], str]) -> Callable[[Plan], str]:
    return lambda plan: words(plan) if plan.data > 1 else ""


def _of_stages(words: Callable[[Plan], str]) -> Callable[[Plan], str]:
    return lambda plan: words(plan) if plan.pipeline > 1 else ""


def _of_tensor_ranks(words: Callable[[Plan], str]) -> Callable[[Plan], str]:
    return lambda plan: words(plan) if plan.tensor > 1 else ""


def _shares(axis: str, shares: Sequence[float]) -> str:
    equal = len(set(shares)) == 1
    return f"equal {axis} shares" if equal else f"{axis} shares {' : '.join(f'{one:g}' for one in shares)}"


_WORDS: dict[str, Callable[[Plan], str]] = {
    **{axis: _degree(axis) for axis in AXES},
    "schedule": _of_stages(lambda plan: "its grid" if is_grid(plan.schedule) else plan.schedule),
    "virtual_stages": lambda plan: f"{plan.virtual_stages} stages a rank" if plan.schedule == "interleaved" else "",
    "microbatch": lambda plan: f"microbatch {plan.microbatch}",
    "sequence_parallel": _of_tensor_ranks(lambda plan: f"{'no ' * (not plan.sequence_parallel)}sequence parallel"),
    "zero": _of_replicas(lambda plan: f"ZeRO {plan.zero}"),
    "synchronisation": _of_replicas(lambda plan: plan.synchronisation),
    "local_steps": _of_replicas(lambda plan: f"every {plan.local_steps} steps"),
    "staleness": _of_replicas(lambda plan: f"staleness {plan.staleness}"),
    "servers": _of_replicas(lambda plan: f"servers {plan.servers}"),
    "compression": _of_replicas(lambda plan: f"compression {plan.compression}"),
    "offload": lambda plan: f"offload {plan.offload}",
    "stages": _of_stages(lambda plan: f"stages {'+'.join(map(str, plan.stages))}"),
    "data_shares": _of_replicas(lambda plan: _shares("data", plan.data_shares)),
    "tensor_shares": _of_tensor_ranks(lambda plan: _shares("tensor", plan.tensor_shares)),
    "bucket_bytes": _of_replicas(lambda plan: f"buckets of {Bytes(plan.bucket_bytes)}"),
}

_SHARES = ("data_shares", "tensor_shares")

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


def differing(plan: Plan, other: Plan, keys: Sequence[str] = ()) -> list[str]:
    """What a plan has of these keys and the other has not, in words; of all keys where these are alike."""
    unlike = [key for key in _WORDS if _value(plan, key) != _value(other, key) and _WORDS[key](plan)]
    return [_WORDS[key](plan) for key in ([key for key in keys if key in unlike] or unlike)]


def _value(plan: Plan, key: str) -> object:
    """Equal shares are equal among any number of ranks."""
    value = getattr(plan, key)
    return () if key in _SHARES and len(set(value)) == 1 else value


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
    stages = _WORDS["stages"](plan)
    found = _listed(differing(plan, other, ["stages"]))
    return f"{stages}: the slowest" if found == stages else f"{found}: the slowest of {stages}"


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
    return [words for key, holds in keys.items() if holds and (words := _WORDS[key](plan))]


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)

"""What a plan pays for, on machines of the catalogue, beside the plan that won: term by term, as their prices have it.

    communication of an axis, the bubble, optimizer      each plan's own term
    uneven rows, of unequal machines                     what a deal of microbatches by speed would save
    compute                                              each plan's own term, without that

The terms of a plan add up to its step, so that a reader can check the sentence with the numbers beside it; the sentence
itself is `planner.reasons`'.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

from plait.clusters.hosts import FullestHost
from plait.clusters.played import Played, row_of
from plait.estimates.rank_groups import Axis, rank_group
from plait.estimates.task import Task
from plait.planner.fewer import (
    MORE_RANKS,
    SHORTER,
    STATES,
    Case,
    Remedy,
    always,
    fewer,
    ranks_along,
    recompute,
    sequence_parallel,
    sgd,
    smaller_microbatch,
    zero,
)
from plait.planner.reasons import Cost, Explained, Reason, as_more, in_one_sentence, reasons_among
from plait.planner.remedies import Smallest, dies_first
from plait.plans.differences import differing
from plait.plans.plan import Plan
from plait.plans.prediction import Terms
from plait.specs.catalogue import to_host_of
from plait.specs.wording import counted

__all__ = ["explained", "reasons", "smallest", "too_large", "why_it_lost", "why_not_ranked"]

_FEWER: dict[str, tuple[Remedy, ...]] = {
    **STATES,
    "activations": (
        recompute, sequence_parallel, smaller_microbatch, ranks_along("tensor", "context", "pipeline"), SHORTER,
    ),
    "logits": (smaller_microbatch, ranks_along("tensor"), SHORTER),
}  # fmt: skip
_FEWER_ON_GROUPS = {**_FEWER, "activations": (recompute, sequence_parallel, smaller_microbatch, MORE_RANKS, SHORTER)}
_COMPUTES = ("data", "tensor", "pipeline", "context", "expert", "schedule", "microbatch", "sequence_parallel")
_DEALS = ("data", "data_shares")
_WAITED_EACH_TIME = ("tensor", "context", "expert")  # with each microbatch
_UPDATES = ("data", "tensor", "pipeline", "zero", "stages")
_FEWER_IN_HOST = (zero(1), MORE_RANKS, sgd, always("no offload"))


def why_it_lost(loser: Played, winner: Played) -> str:
    """The reason that a plan is behind the best one."""
    memory = loser.memory[loser.fullest].taken - winner.memory[winner.fullest].taken
    return in_one_sentence(reasons(loser, winner), loser.seconds, winner.seconds, memory)


def explained(one: Played, rival: Played, lost_because: str | None, most_risk: float) -> Explained:
    """A plan beside another, which fits where it runs out of memory with no more than `most_risk`."""
    return Explained(
        plan=one.plan,
        step_seconds=one.seconds,
        beside_seconds=rival.seconds,
        lost_because=lost_because,
        reasons=reasons(one, rival),
        fits=one.risk <= most_risk,
        risk=one.risk,
    )


def why_not_ranked(one: Played, best: Played, tasks: Sequence[Task], most_risk: float) -> str:
    """The fate of a plan that a search did not propose: no room, or slower, or left out by its closed form."""
    if one.risk > most_risk:
        return too_large(one, tasks)
    if one.seconds < best.seconds:
        return (
            f"{1 - one.seconds / best.seconds:.1%} faster than the best: it was left out by its closed form, not played"
        )
    return why_it_lost(one, best)


def reasons(loser: Played, winner: Played) -> tuple[Reason, ...]:
    """Everything that costs the loser more than the winner, the largest first."""
    return reasons_among(_costs(loser, winner), loser.seconds)


def _costs(loser: Played, winner: Played) -> Iterator[Cost]:
    plan, terms, best, fastest = loser.plan, loser.terms, winner.terms, winner.seconds
    fair, fairer = _fair(loser, winner), _fair(winner, loser)
    for axis, seconds in terms.exposed.items():
        own, others = seconds, best.exposed.get(axis, 0.0)
        if axis in _WAITED_EACH_TIME:
            own, others = own * fair, others * fairer
        yield Cost(own, others, f"{_axis(axis, loser)}: {as_more(own - others, fastest)} communication")
    share, rounds = terms.bubble / loser.seconds, counted(loser.rounds, "microbatch", "es")
    words = f"pipeline {plan.pipeline}: bubble {share:.0%} at {rounds}"
    if best.bubble:
        words += f" ({as_more(terms.bubble - best.bubble, fastest)})"
    yield Cost(terms.bubble, best.bubble, words)
    (unfair, compute), (others, rivals) = _compute(terms, fair), _compute(best, fairer)
    names = _listed(plan, winner.plan, _DEALS)
    yield Cost(unfair, others, f"{names}: rows are not dealt out by speed {as_more(unfair - others, fastest)}")
    yield Cost(compute, rivals, f"{_work(plan, winner.plan)}: compute {as_more(compute - rivals, best.compute)}")
    part = as_more(terms.optimizer - best.optimizer, fastest)
    yield Cost(terms.optimizer, best.optimizer, f"{_update(loser, winner)}: optimizer {part}")


def _axis(axis: str, one: Played) -> str:
    plan = one.plan
    if axis == "pipeline":
        return f"pipeline {plan.pipeline}: transfers between stages"
    if axis == "data" and plan.data * plan.context == 1:
        return f"weights that several of the {plan.tensor} tensor ranks have: their gradients' sums"
    if axis == "data":
        return f"data {plan.data}, ZeRO 3" if plan.zero == 3 else f"data {plan.data}"
    name = f"{axis} {getattr(plan, axis)}"
    crosses = rank_group(row_of(plan), cast("Axis", axis)).span[0] > one.machines.domain
    return f"{name} crosses the node" if crosses else name


def _work(plan: Plan, best: Plan) -> str:
    if plan.recompute != best.recompute and plan.recompute != "none":
        return f"{plan.recompute} recompute"
    if plan.stages != best.stages and len(set(plan.stages)) > 1:
        return f"pipeline {plan.pipeline}: stages of unequal work"
    if plan.tensor > best.tensor:
        return f"tensor {plan.tensor}: smaller operations"
    if plan.microbatch < best.microbatch:
        return f"microbatch {plan.microbatch}: smaller operations, gradients added up more often"
    if plan.microbatch > best.microbatch and (plan.tensor, plan.pipeline) == (best.tensor, best.pipeline):
        return f"microbatch {plan.microbatch}: rows dealt out in larger parts"
    return f"{_listed(plan, best, _COMPUTES)}: its operations and their sums"


def _compute(terms: Terms, fair: float) -> tuple[float, float]:
    """The seconds of a plan's microbatches that a deal by speed would save, and those that it would compute then."""
    waits = sum(terms.exposed[axis] for axis in _WAITED_EACH_TIME)
    return (1 - fair) * (terms.compute + waits), fair * terms.compute


def _fair(one: Played, other: Played) -> float:
    """What part of its microbatches' time a deal by speed would leave; all of it where the other has the same deal."""
    return 1.0 if all(getattr(one.plan, key) == getattr(other.plan, key) for key in _DEALS) else one.even


def _update(loser: Played, winner: Played) -> str:
    if loser.plan.offloads and not winner.plan.offloads:
        return "offload's copies and its updates in host memory"
    most, others = (max(held.kinds["optimizer"] + held.host for held in one.memory) for one in (loser, winner))
    if most > others:
        return "more weights on a rank to update"
    return f"{_listed(loser.plan, winner.plan, _UPDATES)}: slower updates"


def _listed(plan: Plan, best: Plan, keys: Sequence[str]) -> str:
    return ", ".join(differing(plan, best, keys))


def too_large(one: Played, tasks: Sequence[Task]) -> str:
    """What a plan that does not fit needs, on the rank that dies first, and of which bytes most is."""
    return dies_first(smallest(one, tasks))


def smallest(one: Played, tasks: Sequence[Task]) -> Smallest:
    """A plan's memory, on the rank that dies first, beside that of its device; or what all ranks of a host keep in its
    memory, where that is what does not fit."""
    held, rank, groups = one.memory[one.fullest], sum(one.sizes[: one.fullest]), [task.machines for task in tasks]
    device = max((group for group in groups if group.first_rank <= rank), key=lambda group: group.first_rank).device
    apart = all(to_host_of(group.device) is not None for group in groups)
    case = Case(one.plan, tasks[0].model, adamw=tasks[0].moments > 1, apart=apart)
    on_device = Smallest(
        plan=one.plan,
        risk=held.risk,
        rank=rank,
        held=held.taken,
        kind=held.dominant,
        most=round(held.kinds[held.dominant]),
        fewer=fewer((_FEWER if len(tasks) == 1 else _FEWER_ON_GROUPS)[held.dominant], case),
        room=device.memory_bytes,
        whose=f"{device.name} has",
        in_host=one.host_bytes,
    )
    full = max((host for host in one.hosts if host.overflows), key=lambda host: host.held, default=None)
    return on_device if full is None else _in_host(on_device, one, full, fewer(_FEWER_IN_HOST, case))


def _in_host(on_device: Smallest, one: Played, full: FullestHost, less: str) -> Smallest:
    """Of a host without room the rank that keeps most in its memory, beside what all its ranks do."""
    of_ranks = [round(held.host) for held, count in zip(one.memory, one.sizes, strict=True) for _ in range(count)]
    own = range(full.first_rank, full.first_rank + full.machines.devices_per_node)
    rank = max(own, key=lambda rank: of_ranks[rank])
    return replace(
        on_device, risk=one.risk, rank=rank, held=of_ranks[rank], kind="optimizer", most=of_ranks[rank], fewer=less,
        room=full.room or 0, whose=f"a host with {full.machines.device.name} has", together=full.held,
        sharing="all ranks of a host", in_host=0,
    )  # fmt: skip

"""Why a plan lost, in one sentence that is true: with its reason taken away it would have been as fast as the best.

    reason                                  taken away
    communication of an axis, the bubble    that term for nothing
    compute, optimizer                      as much of it as the best plan has

The terms of a plan add up to its step, so that a reader can check the sentence with the numbers beside it. Where no
reason alone is enough the sentence says so and names the largest two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

from plait.clusters.played import Played, row_of
from plait.estimates.rank_groups import Axis, rank_group
from plait.plans.plan import Plan
from plait.specs.machines import Machines
from plait.units import Bytes

__all__ = ["Reason", "reasons", "too_large", "why_it_lost"]

_TIE = 1e-3
_ROUNDING = 1 + 1e-9
_FEWER = {
    "weights": "more tensor or pipeline ranks, or zero = 3",
    "gradients": "more tensor or pipeline ranks, or zero = 2",
    "optimizer": "zero = 1, more tensor or pipeline ranks, or sgd",
    "activations": "recompute, a smaller microbatch, shorter sequences, or more tensor, context or pipeline ranks",
    "logits": "a smaller microbatch, shorter sequences, or more tensor ranks",
}


class Reason(NamedTuple):
    """What cost a plan time: the seconds of its step if that were taken away, and in words."""

    without: float
    words: str


def why_it_lost(loser: Played, winner: Played, machines: Machines) -> str:
    """The reason that a plan is behind the best one on these machines."""
    fastest = winner.seconds
    if loser.seconds - fastest <= _TIE * fastest:
        return _tie(loser, winner)
    found = sorted(one for one in reasons(loser, winner, machines) if loser.seconds - one.without > _TIE * fastest)
    if found and found[0].without <= fastest * _ROUNDING:
        return found[0].words
    return f"no single reason; the largest: {'; '.join(reason.words for reason in found[:2])}"


def reasons(loser: Played, winner: Played, machines: Machines) -> Iterator[Reason]:
    """Everything that cost the loser time."""
    plan, terms, fastest = loser.plan, loser.terms, winner.seconds
    for axis, seconds in terms.exposed.items():
        yield Reason(loser.seconds - seconds, f"{_axis(axis, plan, machines)}: +{seconds / fastest:.0%} communication")
    rounds = "1 microbatch" if loser.rounds == 1 else f"{loser.rounds} microbatches"
    share = terms.bubble / loser.seconds
    yield Reason(loser.seconds - terms.bubble, f"pipeline {plan.pipeline}: bubble {share:.0%} at {rounds}")
    more = terms.compute - winner.terms.compute
    if more > 0:
        part = more / winner.terms.compute
        yield Reason(loser.seconds - more, f"{_work(plan, winner.plan)}: compute +{part:.0%}")
    more = terms.optimizer - winner.terms.optimizer
    if more > 0:
        yield Reason(loser.seconds - more, f"more weights on a rank to update: optimizer +{more / fastest:.0%}")


def _axis(axis: str, plan: Plan, machines: Machines) -> str:
    if axis == "pipeline":
        return f"pipeline {plan.pipeline}: transfers between stages"
    if axis == "data" and plan.data * plan.context == 1:
        return f"weights that several of the {plan.tensor} tensor ranks have: their gradients' sums"
    if axis == "data":
        return f"data {plan.data}, ZeRO 3" if plan.zero == 3 else f"data {plan.data}"
    name = f"{axis} {getattr(plan, axis)}"
    crosses = rank_group(row_of(plan), cast("Axis", axis)).span[0] > machines.domain
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
    return f"tensor {plan.tensor}, microbatch {plan.microbatch}: its operations and their sums"


def _tie(loser: Played, winner: Played) -> str:
    more = loser.memory[loser.fullest].taken - winner.memory[winner.fullest].taken
    memory = f"; {Bytes(more)} more memory on its fullest rank" if more > 0 else ""
    return f"as fast as the best, within {_TIE:.1%}{memory}"


def too_large(one: Played, machines: Machines) -> str:
    """What a plan that does not fit needs, on the rank that dies first, and of which bytes most is."""
    held, rank = one.memory[one.fullest], sum(one.sizes[: one.fullest])
    kind = held.dominant
    room = Bytes(machines.device.memory_bytes)
    return (
        f"rank {rank} dies first: it needs {Bytes(held.taken)} of the {room} that a {machines.device.name} has, most "
        f"of it {kind}: {Bytes(round(held.kinds[kind]))}; fewer with {_FEWER[kind]}"
    )

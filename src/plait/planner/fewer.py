"""What would lessen the bytes of a kind that a plan holds, as far as the plan has it not and can have it.

    zero = 2               where there are replicas, of a lower level
    more tensor ranks      where other axes have some to give and a head is left for each; else more ranks in all
    sequence_parallel      where tensor ranks hold whole sequences between their products

Which of these lessen what, each planner's table says. It knows a plan and its model, no byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import NamedTuple

from plait.plans.arrangements import divisors
from plait.plans.plan import Plan
from plait.specs.model import ModelSpec

__all__ = [
    "MORE_RANKS",
    "SHORTER",
    "SMALLER_MODEL",
    "STATES",
    "Case",
    "Remedy",
    "always",
    "fewer",
    "no_compression",
    "offload",
    "ranks_along",
    "recompute",
    "sequence_parallel",
    "sgd",
    "smaller_microbatch",
    "zero",
]


class Case(NamedTuple):
    """A plan for a model, learned by AdamW or by SGD. `apart`: the host's memory is another one than the ranks' own,
    and how fast they reach it is known."""

    plan: Plan
    model: ModelSpec
    adamw: bool
    apart: bool


Remedy = Callable[[Case], str | None]


def fewer(remedies: Iterable[Remedy], case: Case) -> str:
    """Those that are left to the plan, in words; the last of them always is."""
    *others, last = (words for one in remedies if (words := one(case)) is not None)
    return f"{', '.join(others)}, or {last}" if others else last


def always(words: str) -> Remedy:
    """What no plan has done already."""
    return lambda _: words


def ranks_along(*axes: str) -> Remedy:
    """More ranks along these axes, from those that others have; where these have none to give, more ranks in all."""

    def words(case: Case) -> str | None:
        spare = case.plan.ranks // prod(getattr(case.plan, axis) for axis in axes)
        able = [axis for axis in axes if any(_can_have(case, axis, times) for times in divisors(spare)[1:])]
        if able:
            return f"more {_or(able)} ranks"
        return "more ranks" if any(_can_have(case, axis, 2) for axis in axes) else None

    return words


def _can_have(case: Case, axis: str, times: int) -> bool:
    """Whether so many times as many ranks along an axis would each have a part of the model."""
    most = {"tensor": min(case.model.heads, case.model.ffn, case.model.vocab), "pipeline": case.model.layers}
    degree = getattr(case.plan, axis) * times
    return axis not in most or degree <= most[axis]


def _or(words: list[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def zero(level: int) -> Remedy:
    """ZeRO's level from which on it shares these bytes out over replicas that learn together, and tell all."""

    def words(case: Case) -> str | None:
        plan = case.plan
        can = plan.data > 1 and plan.synchronisation == "all-reduce" and plan.compression == "none"
        return f"zero = {level}" if can and plan.zero < level else None

    return words


def sgd(case: Case) -> str | None:
    """An optimizer that keeps less of each weight."""
    return "sgd" if case.adamw else None


def offload(case: Case) -> str | None:
    """The optimizer's state in the host's memory, where that makes room."""
    return "offload" if case.apart and not case.plan.offloads else None


def recompute(case: Case) -> str | None:
    """Nothing kept inside a block."""
    return "full recompute" if case.plan.recompute != "full" else None


def sequence_parallel(case: Case) -> str | None:
    """A part of each sequence where tensor ranks would all keep the whole."""
    return "sequence_parallel" if case.plan.tensor > 1 and not case.plan.sequence_parallel else None


def smaller_microbatch(case: Case) -> str | None:
    """Fewer sequences at a time."""
    return "a smaller microbatch" if case.plan.microbatch > 1 else None


def no_compression(case: Case) -> str | None:
    """Nothing kept of what sums and averages leave out."""
    return "no compression" if case.plan.compresses else None


MORE_RANKS = ranks_along("tensor", "pipeline")
SMALLER_MODEL, SHORTER = always("a smaller model"), always("shorter sequences")
STATES: Mapping[str, tuple[Remedy, ...]] = {  # of bytes that a rank keeps from step to step, on any machine
    "weights": (MORE_RANKS, zero(3), SMALLER_MODEL),
    "gradients": (MORE_RANKS, zero(2), SMALLER_MODEL),
    "optimizer": (offload, zero(1), MORE_RANKS, sgd, SMALLER_MODEL),
}

"""When replicas tell each other what they have learned: the pace of each step of a run that loses something on purpose.

    steps      0 … W - 1        W …
    pace       dense            alone  alone  …  meets  alone  …  alone  settles
               └ as all-reduce  └───────── H steps ──────┘                └ the last step of a run

The first steps may be dense: gradients whole, and summed in each step. Between meetings replicas learn alone. Where a
wire goes on by itself, what a meeting says arrives `DELAY` steps later, behind that step's compute; not where every
step is a meeting, nor at the end of a run, which settles all that is under way and meets once more.

Pure: the runtime performs it, verify and the planner count on it.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Literal

from plait.plans.plan import Plan
from plait.specs.compression import compression_of, compression_problem
from plait.specs.training import TrainingSpec

__all__ = [
    "DELAY",
    "FEW",
    "OUTER_RATE",
    "WARM_UPS",
    "Pace",
    "arrives_late",
    "as_dense",
    "begins_dense",
    "dense_steps",
    "is_coarse",
    "meetings",
    "meetings_between",
    "outer_momentum",
    "pace_of",
]

Pace = Literal["dense", "alone", "meets", "settles"]

WARM_UPS = 3  # of the learning rate: at its height, too, a young model learns worse from parts of a batch
OUTER_RATE = 0.7  # of DiLoCo's Nesterov
_MOST_MOMENTUM = 0.9  # DiLoCo's own
FEW = 4  # meetings in a run: with fewer it ends before replicas have learned much from each other
DELAY = 1  # steps; a number of 8 bytes, the loss, waits at the end of each for what was sent before it


def begins_dense(plan: Plan) -> bool:
    """Whether the first steps of a run are dense though the plan's are not: where little of a gradient travels."""
    return plan.data > 1 and is_coarse(plan.synchronisation, plan.compression)


def is_coarse(synchronisation: str, compression: str) -> bool:
    """Whether little of a gradient travels in these two keys of a plan. An illegal form is not."""
    if synchronisation in ("local-sgd", "diloco"):
        return True
    return compression_problem(compression) is None and compression_of(compression).kind in ("powersgd", "topk")


def as_dense(plan: Plan) -> Plan:
    """What a plan that begins dense does in its first steps; any other as it is."""
    if not begins_dense(plan):
        return plan
    return replace(plan, synchronisation="all-reduce", compression="none", local_steps=1)


def dense_steps(plan: Plan, training: TrainingSpec) -> int:
    """How many steps of a run are, from the first: `WARM_UPS` times those in which the learning rate warms up."""
    return WARM_UPS * training.warmup_steps if begins_dense(plan) else 0


def meetings(plan: Plan, training: TrainingSpec) -> int:
    """In how many steps of a run replicas meet after its dense beginning, the last step among them."""
    every = plan.local_steps if plan.averages else 1
    return meetings_between(dense_steps(plan, training), training.steps, every)


def meetings_between(first: int, steps: int, every: int) -> int:
    """The same of a run of so many steps that meets `every` so many, `first` of which are dense."""
    return steps // every - first // every + (steps % every > 0) if first < steps else 0


def pace_of(plan: Plan, training: TrainingSpec, step: int, *, settles: bool = False) -> Pace:
    """The pace of a step, counted from 0. Where replicas meet in every step by their gradients, `meets`. `settles`:
    after it they are to be alike, for a save."""
    if step < dense_steps(plan, training):
        return "dense"
    if not plan.averages:
        return "meets"
    if settles or step + 1 == training.steps:
        return "settles"
    return "meets" if (step + 1) % plan.local_steps == 0 else "alone"


def outer_momentum(replicas: int) -> float:
    """The momentum of DiLoCo's outer Nesterov: with it the weights go √replicas times as far as the replicas' mean in
    the long run, `OUTER_RATE` / (1 - momentum), up to the 0.9 of the paper (7 times, from 49 replicas on).

    An AdamW on a part of a batch makes steps as long as one on all of it, but where noise rules they point √replicas
    times less along the gradient, and their mean is as much too short (the square-root rule of Malladi et al., "On the
    SDEs and Scaling Rules for Adaptive Gradient Algorithms", 2022). With 0.9 two replicas go 7 times as far, which is
    a learning rate 7 times the job's: in a run of 400 steps they end 17 % above dense.
    """
    return min(_MOST_MOMENTUM, 1 - OUTER_RATE / sqrt(replicas))


def arrives_late(plan: Plan, *, in_background: bool) -> bool:
    """Whether a meeting's averages arrive `DELAY` steps later; `in_background`: whether the wire goes on by itself."""
    return plan.averages and in_background and plan.local_steps > DELAY

"""What would hide a slow link between hosts: which ways of telling each other less keep how much of the speed.

    speed of the plan with its data axis for nothing  ├──────────────────────────────┤ 100 %
    diloco every 16 steps, int8                       ├─────────────────────────────┤   97 %
    fp16                                              ├────────────────────┤            67 %
    summed as it is                                   ├────────────┤                    42 %

All of them change the mathematics, so that a search takes none that it was not asked for: they are named, with their
prices, before anything runs. It knows plans and prices; how well a model learns under them it can't know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from plait.planner.prices import JobPrices
from plait.planner.simulator import Played, fits, play, played
from plait.plans.legality import plan_problems
from plait.plans.plan import Plan
from plait.specs.job import Job, PlanValue
from plait.specs.links import LinkSpeed

__all__ = ["TARGETS", "Choice", "Hiding", "hiding"]

TARGETS = (0.9, 0.95, 0.97)  # of the speed: for each, the fewest steps alone that keep it
_INTERVALS = tuple(2**power for power in range(1, 10))  # steps between two meetings
_FORMS: tuple[Mapping[str, PlanValue], ...] = (
    {"compression": "fp16"},
    {"compression": "int8"},
    {"compression": "powersgd:4"},
)
_ALONE: tuple[Mapping[str, PlanValue], ...] = (
    {"synchronisation": "local-sgd"},
    {"synchronisation": "diloco"},
    {"synchronisation": "diloco", "compression": "int8"},
)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """`keys` of `[plan]`, the plan with them, what its step takes, and the part of the unhindered speed it keeps."""

    keys: Mapping[str, PlanValue]
    plan: Plan
    step_seconds: float
    kept: float


@dataclass(frozen=True, kw_only=True)
class Hiding:
    """The plan of replicas whose step would be fastest if its data axis cost nothing (`unhindered_seconds`), what that
    step takes over `link` as it is (`dense_seconds`), and the choices faster than the best plan, fastest first."""

    link: LinkSpeed
    plan: Plan
    unhindered_seconds: float
    dense_seconds: float
    choices: tuple[Choice, ...]


def hiding(job: Job, fitting: Sequence[Played], prices: JobPrices) -> Hiding | None:
    """What would hide the link between the hosts of a job; None where nothing has to be hidden, or nothing would.

    `fitting`: the plans of a search, best first.
    """
    link = prices.machine.between_hosts
    crossing = [one for one in fitting if prices.machine.spread(one.plan, "data").crosses and not one.plan.zero]
    if link is None or not crossing:
        return None
    unhindered = {one.plan: play(one.plan, one.cost.without("data"), prices).seconds for one in crossing}
    base = min(crossing, key=lambda one: unhindered[one.plan])
    least, best = unhindered[base.plan], fitting[0].step.seconds
    if least >= TARGETS[-1] * best:
        return None
    found = {one.plan: one for one in _choices(job, base.plan, least, prices) if one.step_seconds < best}
    choices = tuple(sorted(found.values(), key=lambda one: one.step_seconds))
    if not choices:
        return None
    return Hiding(link=link, plan=base.plan, unhindered_seconds=least, dense_seconds=base.step.seconds, choices=choices)


def _choices(job: Job, base: Plan, least: float, prices: JobPrices) -> Iterator[Choice]:
    for keys in _FORMS:
        yield from filter(None, [_choice(job, base, keys, least, prices)])
    for keys in _ALONE:
        every = [_choice(job, base, {**keys, "local_steps": steps}, least, prices) for steps in _INTERVALS]
        tried = [one for one in every if one is not None]
        enough = [next((one for one in tried if one.kept >= target), None) for target in TARGETS]
        wanted = [one for one in enough if one is not None] or tried[-1:]
        yield from {one.plan: one for one in wanted}.values()


def _choice(job: Job, base: Plan, keys: Mapping[str, PlanValue], least: float, prices: JobPrices) -> Choice | None:
    """None where the job fixes something else, or it is not legal, or too large."""
    if any(job.constraints.get(key, value) != value for key, value in keys.items()):
        return None
    changes: dict[str, Any] = dict(keys)
    plan = replace(base, **changes)
    if "bucket_bytes" not in job.constraints:
        plan = replace(plan, bucket_bytes=prices.bucket_bytes(plan))
    if plan_problems(job, plan):
        return None
    one = played(plan, prices)
    if not fits(one.memory, prices):
        return None
    return Choice(keys=keys, plan=plan, step_seconds=one.step.seconds, kept=least / one.step.seconds)

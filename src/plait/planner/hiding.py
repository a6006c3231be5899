"""What would hide a slow link between hosts: which ways of telling each other less keep how much of the speed.

    a step, its data axis for nothing   ├─────────┤                        3.0 s                        100 %
    int8                                ├───────────┤                      3.6 s                         85 %
    diloco every 16 steps, int8         ├──────────┤                       3.1 s, in the run's mean
      its first 60 steps of 200         ├──────────────────────┤           7.0 s                  4.3 s: 70 %

A form is judged by the mean step of the run: where it begins dense (`plans.meetings`), that beginning is slow.
All of them change the mathematics, so that a search takes none that it was not asked for: they are named, with their
prices, before anything runs. It knows plans and prices; how well a model learns under them it can't know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from plait.estimates.estimate import RISK
from plait.planner.prices import JobPrices
from plait.planner.run_mean import run_seconds
from plait.planner.simulator import Played, least, performed, play, played, risk
from plait.plans.legality import plan_problems
from plait.plans.meetings import FEW, dense_steps, meetings
from plait.plans.plan import Plan
from plait.sharding.mesh_shape import AXES
from plait.specs.job import Job, PlanValue
from plait.specs.links import LinkSpeed

__all__ = ["ENOUGH", "NEARLY", "TARGETS", "Choice", "Hiding", "gentlest", "hiding"]

TARGETS = (0.9, 0.95, 0.97)  # of the speed of a steady step: for each, the fewest steps alone that keep it
ENOUGH, NEARLY = 0.95, 0.9  # of the speed, of what is advised
_LOSING_MORE = ("fp16", "int8", "diloco", "local-sgd", "powersgd:4")  # by held-out losses, docs/benchmarks.md
# Steps between two meetings, each a few more than the one before: on the demo's job every 8 in int8 ended 0.8 % above
# dense, every 16 1.2 %. What is said at a meeting arrives a step late, when of a period of 2 half is over: every 2
# ended 1.4 % above it (docs/benchmarks.md).
_INTERVALS = (8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 192, 256, 384, 512)
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
    """`keys` of `[plan]`, and the plan with them. `step_seconds`: a steady step, after the first `dense_steps` of the
    run; `run_seconds`: the mean of all its steps. `kept`: the part of the unhindered speed that the run keeps."""

    keys: Mapping[str, PlanValue]
    plan: Plan
    step_seconds: float
    dense_steps: int
    run_seconds: float
    kept: float


@dataclass(frozen=True, kw_only=True)
class Hiding:
    """The plan of replicas whose step would be fastest if its data axis cost nothing (`unhindered_seconds`), what that
    step takes over `link` as it is (`dense_seconds`), and the choices with which a run of `steps` steps takes less than
    with the `best` plan of all (`best_seconds`, the mean step of its run), the fastest run first."""

    link: LinkSpeed
    steps: int
    plan: Plan
    best: Plan
    best_seconds: float
    unhindered_seconds: float
    dense_seconds: float
    choices: tuple[Choice, ...]

    @property
    def advised(self) -> Choice:
        """The mildest that keeps `ENOUGH`, or at least nearly that; where none does, the one that keeps most."""
        mild = (gentlest(self.choices, share) for share in (ENOUGH, NEARLY))
        return next(filter(None, mild), self.choices[0])

    @property
    def advice(self) -> Mapping[str, PlanValue]:
        """Keys to write in `[plan]` so that what is advised is planned: its own, and the degrees in which its mesh is
        another than the best plan's."""
        degrees = {axis: self.plan.mesh.size(axis) for axis in AXES}
        return {k: n for k, n in degrees.items() if n != self.best.mesh.size(k)} | dict(self.advised.keys)


def gentlest(choices: Sequence[Choice], kept: float) -> Choice | None:
    """Of those with which a run keeps so much of its speed, the one under which least was seen to be lost, and then of
    the fewest steps alone; None where none does."""
    return min((one for one in choices if one.kept >= kept), key=_harm, default=None)


def _harm(choice: Choice) -> tuple[object, ...]:
    form = choice.keys.get("synchronisation", choice.keys.get("compression"))
    return _LOSING_MORE.index(str(form)), choice.keys.get("local_steps", 0), "compression" in choice.keys


def hiding(job: Job, fitting: Sequence[Played], prices: JobPrices) -> Hiding | None:
    """What would hide the link between the hosts of a job; None where nothing has to be hidden, or nothing would.

    `fitting`: the plans of a search, best first.
    """
    link = prices.machine.between_hosts
    crossing = [one for one in fitting if prices.machine.spread(one.plan, "data").crosses and not one.plan.zero]
    if link is None or not crossing:
        return None
    base, shortest = _unhindered(crossing, prices)
    best = run_seconds(fitting[0], prices)
    if shortest >= TARGETS[-1] * best:
        return None
    found = {one.plan: one for one in _choices(job, base.plan, shortest, prices) if one.run_seconds < best}
    choices = tuple(sorted(found.values(), key=lambda one: (one.run_seconds, one.step_seconds)))
    if not choices:
        return None
    return Hiding(
        link=link,
        steps=job.training.steps,
        plan=base.plan,
        best=fitting[0].plan,
        best_seconds=best,
        unhindered_seconds=shortest,
        dense_seconds=run_seconds(base, prices),
        choices=choices,
    )


def _unhindered(crossing: Sequence[Played], prices: JobPrices) -> tuple[Played, float]:
    """The plan whose step would be fastest if its data axis cost nothing, and that step's seconds: played in order of
    their bounds, until no other can be faster."""
    silent = [(one, one.cost.without("data")) for one in crossing]
    bounds = sorted(((least(one.plan, cost, prices).seconds, n) for n, (one, cost) in enumerate(silent)))
    found: list[tuple[float, int]] = []
    for bound, number in bounds:
        if found and bound * (1 - 1e-9) > min(found)[0]:
            break
        one, cost = silent[number]
        found.append((play(one.plan, cost, prices).seconds, number))
    seconds, number = min(found)
    return performed(crossing[number], prices), seconds


def _choices(job: Job, base: Plan, shortest: float, prices: JobPrices) -> Iterator[Choice]:
    for keys in _FORMS:
        yield from filter(None, [_choice(job, base, keys, shortest, prices)])
    for keys in _ALONE:
        tried: list[Choice] = []
        for steps in _INTERVALS:
            if tried and tried[-1].kept >= TARGETS[-1]:
                break
            tried += filter(None, [_choice(job, base, {**keys, "local_steps": steps}, shortest, prices)])
        # by the steady step, and by the run's mean: of a short run the dense beginning leaves none that keeps enough
        steady = [next((one for one in tried if shortest / one.step_seconds >= target), None) for target in TARGETS]
        mean = [next((one for one in tried if one.kept >= target), None) for target in TARGETS]
        wanted = [one for one in (*steady, *mean) if one is not None] or tried[-1:]
        yield from {one.plan: one for one in wanted}.values()


def _choice(job: Job, base: Plan, keys: Mapping[str, PlanValue], shortest: float, prices: JobPrices) -> Choice | None:
    """None where the job fixes something else, or it is not legal, or too large, or the run too short for it."""
    if any(job.constraints.get(key, value) != value for key, value in keys.items()):
        return None
    changes: dict[str, Any] = dict(keys)
    plan = replace(base, **changes)
    if "bucket_bytes" not in job.constraints:
        plan = replace(plan, bucket_bytes=prices.bucket_bytes(plan))
    if plan_problems(job, plan) or meetings(plan, job.training) < FEW:
        return None
    one = played(plan, prices)
    if risk(one.memory, prices) > RISK:
        return None
    mean = run_seconds(one, prices)
    first = dense_steps(plan, job.training)
    return Choice(
        keys=keys, plan=plan, step_seconds=one.step.seconds, dense_steps=first, run_seconds=mean, kept=shortest / mean
    )

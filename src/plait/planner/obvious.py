"""The plans that anybody would have thought of, and what became of each: its reason, or why it is none at all. And any
one plan beside the best, whether a search has found it or somebody wrote it.

    all ranks as replicas          data 8          +14 %: data 8: exposed communication +12 %
    all ranks along tensor         tensor 8        not legal: tensor = 8 exceeds the 6 heads
    all ranks as stages            pipeline 8      too large for the memory
    the best one with another schedule, or level of ZeRO

It looks among the plans of a search, and plays those that were not; it knows a job and its rules, no screen, no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from plait.estimates.estimate import RISK, most_risk
from plait.planner.explain import Rival, reasons, why_it_lost
from plait.planner.reasons import TIE, Explained, Obvious
from plait.planner.search import Plans, RankedPlan
from plait.planner.shortage import too_large
from plait.planner.simulator import Played, performed, played, risk
from plait.plans.legality import is_legal, problems
from plait.plans.plan import Plan
from plait.sharding.mesh_shape import AXES
from plait.specs.job import Job
from plait.specs.wording import shown

__all__ = ["explained", "explained_outside", "obvious_losers"]


def explained(plans: Plans, one: RankedPlan) -> Explained:
    """Why one of a search's plans stands where it does."""
    played, rival = performed(one.found, one.prices), one.rival
    if one is plans.best and len(plans.plans) > 1:
        rival = Rival(performed(plans.plans[1].found, one.prices), one.prices)
    return Explained(
        plan=one.plan,
        step_seconds=played.step.seconds,
        beside_seconds=rival.played.step.seconds,
        lost_because=None if one is plans.best else why_it_lost(played, rival),
        reasons=reasons(played, rival),
        risk=one.risk,
    )


def explained_outside(plan: Plan, job: Job, plans: Plans) -> Explained:
    """What becomes of a legal plan that is none of a search's: priced as it is, and laid beside the best."""
    rival, prices = plans.best.rival, plans.best.prices
    one = played(plan, prices)
    out = risk(one.memory, prices)
    fits = out <= most_risk(daring=plans.best.risk > RISK)
    return Explained(
        plan=plan,
        step_seconds=one.step.seconds,
        beside_seconds=rival.played.step.seconds,
        lost_because=_why_not_best(one, job, rival) if fits else too_large(one, prices),
        reasons=reasons(one, rival),
        fits=fits,
        risk=out,
    )


def _why_not_best(one: Played, job: Job, rival: Rival) -> str:
    """It lost; or it is faster, but not what the job asks for, or not what a search offers."""
    faster = 1 - one.step.seconds / rival.played.step.seconds
    if faster <= TIE:
        return why_it_lost(one, rival)
    fixed = [f"{key} = {shown(value)}" for key, value in job.constraints.items() if getattr(one.plan, key) != value]
    kept = f"which keeps what the job fixes: {', '.join(fixed)}" if fixed else "of a search that does not offer it"
    return f"{faster:.1%} faster than the best, {kept}"


def obvious_losers(job: Job, plans: Plans) -> tuple[Obvious, ...]:
    """Each obvious plan that is not the best, once."""
    found = {(one.plan or one.name): one for one in _kinds(job, plans) if one.plan != plans.best.plan}
    return tuple(found.values())


def _kinds(job: Job, plans: Plans) -> Iterator[Obvious]:
    ranks, best = plans.best.plan.ranks, plans.best.plan
    for axis in ("data", "tensor", "pipeline"):
        if ranks > 1 and axis not in job.constraints:
            degrees = {other: ranks if other == axis else 1 for other in AXES}
            yield _best_of(f"{axis} {ranks}", degrees, job, plans)
    mesh = {axis: best.mesh.size(axis) for axis in AXES}
    if best.pipeline > 1:
        others = dict.fromkeys(one.plan.schedule for one in plans.plans if one.plan.schedule != best.schedule)
        yield from (_best_of(f"the same by {name}", {**mesh, "schedule": name}, job, plans) for name in others)
    if best.data > 1 and "zero" not in job.constraints:
        levels = (level for level in range(4) if level != best.zero)
        yield from (_best_of(f"the same with ZeRO {level}", {**mesh, "zero": level}, job, plans) for level in levels)


def _best_of(name: str, keys: Mapping[str, int | str], job: Job, plans: Plans) -> Obvious:
    """The best plan with these keys, and why it lost; else why there is none."""
    alike = [one for one in plans.plans if all(getattr(one.plan, key) == value for key, value in keys.items())]
    if not alike:
        return Obvious(name=name, why=_why_none(keys, job))
    one = _fastest(alike)
    played = performed(one.found, one.prices)
    why = why_it_lost(played, one.rival) if one.plan != plans.best.plan else "the best"
    return Obvious(name=name, why=why, plan=one.plan, step_seconds=played.step.seconds)


def _fastest(alike: Sequence[RankedPlan]) -> RankedPlan:
    """Of one kind: the first that was played; where none was, the one that its bound puts first."""
    return next((one for one in alike if one.played), alike[0])


def _why_none(keys: Mapping[str, int | str], job: Job) -> str:
    asked = replace(job, constraints={**job.constraints, **keys})
    if is_legal(asked):
        return "too large for the memory, whatever its microbatch"
    return f"not legal: {problems(asked)[0].message}"

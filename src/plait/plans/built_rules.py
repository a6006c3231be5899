"""The rules of what is built: a plan that asks for a part to come is refused, never run without it. For machines of the
catalogue nothing is run: there it may ask for whatever can be described."""

from __future__ import annotations

from plait.plans.rule import Breach, Rule
from plait.specs.choices import CHOICES, judge
from plait.specs.job import Job
from plait.specs.wording import shown

__all__ = ["BUILT_RULES"]


def _built(key: str) -> Rule:
    name, choice = key.removeprefix("plan."), CHOICES[key]

    def holds(job: Job) -> bool:
        here = not job.cluster.elsewhere
        return name not in job.constraints or judge(key, job.constraints[name], here=here) is None

    def breach(job: Job) -> Breach:
        problem = judge(key, job.constraints[name], here=not job.cluster.elsewhere)
        return Breach(key=key, message=problem.message if problem else "", remedies=((key, choice.built),))

    return Rule(reads=frozenset({key, "cluster.device", "cluster.groups"}), holds=holds, breach=breach)


def _gradients_fit(job: Job) -> bool:
    return job.constraints.get("gradient_precision") != "fp64" or job.training.precision == "fp64"


def _gradients_too_wide(job: Job) -> Breach:
    return Breach(
        key="plan.gradient_precision",
        message=f'gradient_precision = "fp64" in a job of precision {shown(job.training.precision)}',
        remedies=(("plan.gradient_precision", ("fp32",)), ("training.precision", ("fp64",))),
    )


BUILT_RULES = (
    *(_built(key) for key in CHOICES if key.startswith("plan.")),
    Rule(
        reads=frozenset({"plan.gradient_precision", "training.precision"}),
        holds=_gradients_fit,
        breach=_gradients_too_wide,
    ),
)

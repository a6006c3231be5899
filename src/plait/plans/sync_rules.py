"""The rules of how replicas keep together: which ways of telling each other what they learned go with one another.

compression    not with zero: pieces of sums have no form of their own in fewer bytes
local SGD      not with zero; it alone takes more than one local step
a server       not with zero, which shares out the same things, nor with compression; what it alone has (`served_rules`)
"""

from __future__ import annotations

from plait.plans.rule import Breach, Rule
from plait.plans.served_rules import SERVED_RULES
from plait.specs.job import Job
from plait.specs.wording import shown

__all__ = ["SYNC_RULES"]

_ALONE = ("local-sgd", "diloco")


def _compresses(job: Job) -> bool:
    return job.constraints.get("compression", "none") != "none"


def _whole_sums(job: Job) -> bool:
    return not (_compresses(job) and job.constraints.get("zero"))


def _pieces_compressed(job: Job) -> Breach:
    form, level = job.constraints.get("compression"), job.constraints.get("zero")
    return Breach(
        key="plan.compression",
        message=f"compression = {shown(form)} with zero = {level}: gradients are compressed where zero = 0 alone",
        remedies=(("plan.compression", ("none",)), ("plan.zero", (0,))),
        legal='"none"',
    )


def _learns_alone(job: Job) -> bool:
    return job.constraints.get("synchronisation") in _ALONE


def _whole_replicas(job: Job) -> bool:
    return not (_learns_alone(job) and job.constraints.get("zero"))


def _replicas_in_pieces(job: Job) -> Breach:
    how, level = job.constraints.get("synchronisation"), job.constraints.get("zero")
    return Breach(
        key="plan.synchronisation",
        message=f"synchronisation = {shown(how)} with zero = {level}: replicas that learn alone share nothing out",
        remedies=(("plan.synchronisation", ("all-reduce",)), ("plan.zero", (0,))),
        legal='"all-reduce"',
    )


def _steps_are_alone(job: Job) -> bool:
    return _learns_alone(job) or job.constraints.get("local_steps", 1) == 1


def _steps_together(job: Job) -> Breach:
    steps, how = job.constraints.get("local_steps"), job.constraints.get("synchronisation", "all-reduce")
    return Breach(
        key="plan.local_steps",
        message=f"local_steps = {steps} with synchronisation = {shown(how)}, which brings replicas together every step",
        remedies=(("plan.synchronisation", _ALONE), ("plan.local_steps", (1,))),
        legal="1",
    )


SYNC_RULES = (
    Rule(reads=frozenset({"plan.compression", "plan.zero"}), holds=_whole_sums, breach=_pieces_compressed),
    Rule(reads=frozenset({"plan.synchronisation", "plan.zero"}), holds=_whole_replicas, breach=_replicas_in_pieces),
    Rule(reads=frozenset({"plan.synchronisation", "plan.local_steps"}), holds=_steps_are_alone, breach=_steps_together),
    *SERVED_RULES,
)

"""The rules of how replicas keep together: which ways of telling each other what they learned go with one another.

    compression    not with zero: pieces of sums have no form of their own in fewer bytes
"""

from __future__ import annotations

from plait.plans.rule import Breach, Rule
from plait.specs.job import Job
from plait.specs.wording import shown

__all__ = ["SYNC_RULES"]


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


SYNC_RULES = (
    Rule(reads=frozenset({"plan.compression", "plan.zero"}), holds=_whole_sums, breach=_pieces_compressed),
)

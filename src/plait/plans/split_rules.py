"""The rules of the axes that a job may be planned with before there is a part that runs them: into what they split.

context    each rank has at least one token of a sequence
expert     each rank has as many experts as any other; taken from the ranks of data, context and tensor
"""

from __future__ import annotations

from plait.plans.arrangements import context_degree, degree, divisors, divisors_near, expert_degree, experts_fit
from plait.plans.rule import Breach, Rule, degrees_near, nearest_first
from plait.specs.job import Job
from plait.specs.wording import counted

__all__ = ["SPLIT_RULES"]


def _tokens_suffice(job: Job) -> bool:
    return context_degree(job) <= job.training.sequence_length


def _too_few_tokens(job: Job) -> Breach:
    context, tokens = context_degree(job), job.training.sequence_length
    return Breach(
        key="plan.context",
        message=f"context = {context} exceeds the {counted(tokens, 'token')} of a sequence: each rank needs one",
        remedies=(("plan.context", degrees_near(context, tokens, job)), ("training.sequence_length", (context,))),
        legal=f"1 to {tokens}",
    )


def _experts(job: Job) -> int:
    return 1 if job.model.experts is None else job.model.experts.count


def _experts_divide(job: Job) -> bool:
    return _experts(job) % expert_degree(job) == 0


def _experts_left_over(job: Job) -> Breach:
    expert, count = expert_degree(job), _experts(job)
    has = "the model has no experts to split" if job.model.experts is None else f"does not divide the {count} experts"
    return Breach(
        key="plan.expert",
        message=f"expert = {expert} {has}" if job.model.experts else f"expert = {expert}, and {has}",
        remedies=(("plan.expert", divisors_near(count, expert)),),
        legal=f"a divisor of {count}",
    )


def _ranks_divide(job: Job) -> bool:
    data, tensor = degree(job, "data"), degree(job, "tensor")
    return (
        data is None or tensor is None or experts_fit(job, data, tensor)
    )  # left open: a matter of what fills the ranks


def _ranks_left_over(job: Job) -> Breach:
    expert = expert_degree(job)
    ranks = (degree(job, "data") or 1) * (degree(job, "tensor") or 1) * context_degree(job)
    fitting = [one for one in divisors(ranks) if _experts(job) % one == 0]
    return Breach(
        key="plan.expert",
        message=f"expert = {expert} does not divide the data × context × tensor = {ranks} ranks that have the experts",
        remedies=(("plan.expert", nearest_first(fitting, expert)),),
        legal=f"a divisor of {ranks}",
    )


_OF_RANKS = frozenset({"plan.expert", "plan.data", "plan.tensor", "plan.context", "plan.data_shares",
                       "plan.tensor_shares", "model.experts"})  # fmt: skip

SPLIT_RULES = (
    Rule(reads=frozenset({"plan.context", "training.sequence_length"}), holds=_tokens_suffice, breach=_too_few_tokens),
    Rule(reads=frozenset({"plan.expert", "model.experts"}), holds=_experts_divide, breach=_experts_left_over),
    Rule(reads=_OF_RANKS, holds=_ranks_divide, breach=_ranks_left_over),
)

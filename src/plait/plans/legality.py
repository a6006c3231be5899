"""Is a job legal, is a plan? All broken rules at once, each with its numbers and the values that would be legal.

    model_rules   what no plan could mend          heads divide hidden, ...
    built_rules   what there is no part for yet    zero = 3, ...
    axis_rules    each axis by itself              tensor is at most the heads, ...
    list_rules    the lists                        stages have all layers together, ...
    rank_rules    what ties the axes together      data × tensor × pipeline = ranks

A job is legal if at least one complete plan for it is; a plan is legal if the job that fixes all of it is. Pure: the
machine's cores and the texts on its disk are somebody else's matter.
"""

from __future__ import annotations

from dataclasses import replace

from plait.errors import Problem
from plait.plans.axis_rules import AXIS_RULES
from plait.plans.built_rules import BUILT_RULES
from plait.plans.list_rules import LIST_RULES
from plait.plans.model_rules import MODEL_RULES
from plait.plans.plan import Plan
from plait.plans.rank_rules import FILLABLE, PRODUCT
from plait.plans.rule import broken, explain
from plait.specs.job import Job

__all__ = ["is_legal", "on_ranks_of", "plan_problems", "problems"]

_RULES = (*MODEL_RULES, *BUILT_RULES, *AXIS_RULES, PRODUCT, *LIST_RULES, FILLABLE)


def problems(job: Job, unknown: frozenset[str] = frozenset()) -> list[Problem]:
    """Every broken rule, but for those that read a key of `unknown` (whose value in the job is a stand-in).

    A rule that the remedy of an earlier one mends as well is not reported again.
    """
    rules = [rule for rule in _RULES if not rule.reads & unknown]
    found: list[Problem] = []
    beyond_help: set[str] = set()
    mended = job
    for rule in broken(rules, job):
        silencing = {problem.key for problem in found} if rule.last else beyond_help
        if rule.holds(mended) or rule.reads & silencing:
            continue
        problem, better = explain(rule, job, mended, rules)
        found.append(problem)
        if better is None:
            beyond_help.add(problem.key)
        else:
            mended = better
    return found


def is_legal(job: Job) -> bool:
    """Whether no rule is broken, without the words."""
    return all(rule.holds(job) for rule in _RULES)


def plan_problems(job: Job, plan: Plan) -> list[Problem]:
    """What keeps a complete plan from being run with this job's model, batch and ranks, whatever its `[plan]` says.

    Ranks that the job left open are the plan's to choose.
    """
    return problems(replace(on_ranks_of(job, plan), constraints=vars(plan)))


def on_ranks_of(job: Job, plan: Plan) -> Job:
    """The job, its number of ranks settled: where it left that open, the plan's own."""
    ranks = plan.ranks if job.cluster.ranks_open else job.cluster.ranks
    return replace(job, cluster=replace(job.cluster, ranks=ranks, ranks_open=False))

"""Is a job legal, is a plan? All broken rules at once, each with its numbers and the values that would be legal.

    built_rules   what there is no part for yet    zero = 3, ...
    model_rules   what no plan could mend          heads divide hidden, ...
    axis_rules    each axis by itself              tensor is at most the heads, ...
    split_rules   those that are planned only      expert divides the experts, ...
    list_rules    the lists                        stages have all layers together, ...
    sync_rules    how replicas keep together       compression needs zero = 0, ...
    schedule_rules  how many stages a rank has  zb-v has two, ...
    rank_rules    what ties the axes together      data × tensor × pipeline = ranks

A job is legal if at least one complete plan for it is; a plan is legal if the job that fixes all of it is. Pure: the
machine's cores and the texts on its disk are somebody else's matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from plait.errors import Problem
from plait.plans.axis_rules import AXIS_RULES
from plait.plans.built_rules import BUILT_RULES
from plait.plans.list_rules import LIST_RULES
from plait.plans.model_rules import MODEL_RULES
from plait.plans.plan import Plan
from plait.plans.rank_rules import FILLABLE, RANK_RULES
from plait.plans.rule import Rule, broken, explain, with_values
from plait.plans.schedule_rules import SCHEDULE_RULES
from plait.plans.split_rules import SPLIT_RULES
from plait.plans.sync_rules import SYNC_RULES
from plait.sharding.mesh_shape import AXES, MeshShape
from plait.specs.border import sift
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from plait.specs.tables import with_lists, with_tuples
from plait.specs.training import TrainingSpec

__all__ = [
    "batch_problems",
    "broken_rules",
    "is_legal",
    "module_problems",
    "on_ranks_of",
    "plan_problems",
    "problems",
]

_DEGREES = {"plan.data", "plan.tensor", "plan.pipeline"}
_PRECISION = "training.precision"
_OF_TRAINING = frozenset({_PRECISION, "training.global_batch", "training.sequence_length"})
_RULES = (
    *BUILT_RULES, *MODEL_RULES, *AXIS_RULES, *SPLIT_RULES, *SCHEDULE_RULES, *RANK_RULES, *LIST_RULES, *SYNC_RULES,
    FILLABLE,
)  # fmt: skip


def problems(job: Job, unknown: frozenset[str] = frozenset()) -> list[Problem]:
    """Every broken rule, but for those that read a key of `unknown` (whose value in the job is a stand-in).

    A rule that the remedy of an earlier one mends as well is told along with that one.
    """
    rules = _judged(unknown)
    found: list[Problem] = []
    settled: Mapping[str, Any] = {}
    mended = [job]  # by the advice of none, of the first, of the first two, …
    for rule in broken(rules, job):
        if not rule.holds(mended[-1]):
            problem, settled = explain(rule, job, settled, rules)
            mended.append(with_values(job, settled))
            found.append(problem)
        else:
            mender = next(number for number, one in enumerate(mended) if rule.holds(one)) - 1
            also = rule.breach(job).message
            if also not in found[mender].message:
                found[mender] = replace(found[mender], message=f"{found[mender].message}; and {also}")
    return found


def broken_rules(job: Job, unknown: frozenset[str] = frozenset()) -> list[Rule]:
    """The rules that `problems` would explain, or hold to be mended by the remedy of another."""
    return broken(_judged(unknown), job)


def _judged(unknown: frozenset[str]) -> list[Rule]:
    return [rule for rule in _RULES if not rule.reads & unknown]


def is_legal(job: Job) -> bool:
    """Whether no rule is broken, without the words."""
    return all(rule.holds(job) for rule in _RULES)


def plan_problems(job: Job, plan: Plan, unknown: frozenset[str] = frozenset()) -> list[Problem]:
    """What keeps a complete plan from being run with this job's model, batch and ranks, whatever its `[plan]` says.

    Ranks that the job left open are the plan's to choose. A plan may have been made by hand: its values are judged one
    by one, too, as those of a file are.
    """
    sifted = sift({"plan": with_lists(vars(plan))}, here=not job.cluster.elsewhere)
    refused = sifted.refused
    settled = job if job.cluster.ranks_open and refused & _DEGREES else on_ranks_of(job, plan)
    judged = replace(settled, constraints=with_tuples(sifted.values.get("plan", {})))
    return [*sifted.problems, *problems(judged, unknown | refused)]


def module_problems(model: ModelSpec, plan: Plan, mesh: MeshShape) -> list[Problem]:
    """What keeps a plan from being performed on a model by the ranks of a mesh, whatever it is to learn from."""
    cluster = ClusterSpec(ranks=mesh.ranks)
    found = plan_problems(Job(model=model, cluster=cluster), plan, _OF_TRAINING)
    return found or [
        Problem(key=f"plan.{axis}", message=f"{axis} = {planned} on a mesh with {standing} there", legal=(standing,))
        for axis in AXES
        if (planned := plan.mesh.size(axis)) != (standing := mesh.size(axis))
    ]


def batch_problems(model: ModelSpec, plan: Plan, global_batch: int | None, sequence_length: int) -> list[Problem]:
    """What keeps a plan from being performed on so many sequences (None: however many) of so many tokens."""
    training = TrainingSpec(sequence_length=sequence_length)
    unknown = {_PRECISION}
    if global_batch is None:
        unknown.add("training.global_batch")
    else:
        training = replace(training, global_batch=global_batch)
    found = plan_problems(
        Job(model=model, training=training, cluster=ClusterSpec(ranks=plan.ranks)), plan, frozenset(unknown)
    )
    most = model.max_positions
    if model.positions == "learned" and sequence_length > most:
        message = f"sequence_length = {sequence_length} exceeds the {most} positions that the model has learned"
        found.append(Problem(key="training.sequence_length", message=message, legal=f"1 to {most}"))
    return found


def on_ranks_of(job: Job, plan: Plan) -> Job:
    """The job, its number of ranks settled: where it left that open, the plan's own."""
    ranks = plan.ranks if job.cluster.ranks_open else job.cluster.ranks
    return replace(job, cluster=replace(job.cluster, ranks=ranks, ranks_open=False))

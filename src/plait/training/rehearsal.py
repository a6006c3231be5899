"""A rehearsal: some steps of a plan on ranks that have done others before, measured as a run is; nothing of it stays.

    job, plan ──► Rehearsal ──► every rank: builds its part, learns a few steps ──► a measure of each

What is given and what comes back is what ranks of several hosts can be sent. It knows one plan; who comes after whom is
`bench`'s.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch.distributed as dist

from plait.data.dataset import tokens_digest
from plait.plans.plan import Plan
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.links import LinkSpeed
from plait.specs.model import ModelSpec
from plait.specs.training import DataSpec, TrainingSpec
from plait.training.hosts import prepared_tokens
from plait.training.measures import in_a_table
from plait.training.rank_trainer import Assignment, train_on_rank

__all__ = ["CLASSES", "TASKS", "Rehearsal", "prepared_on_rank", "rehearsal_of", "rehearse"]

_WARM_UP = 2  # as `rank_trainer` leaves them out


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What every rank is given. `folders`: each rank's own, of the prepared tokens; `link`: what joins the hosts."""

    model: ModelSpec
    training: TrainingSpec
    plan: Plan
    folders: Sequence[str]
    link: LinkSpeed | None = None


def rehearsal_of(job: Job, plan: Plan, steps: int, folders: Sequence[str], link: LinkSpeed | None) -> Rehearsal:
    """`steps` steady steps after two that allocate: whole periods, where replicas meet only in some of them; without a
    warm-up of the learning rate, as long as which some choices would sum gradients whole at first."""
    period = plan.local_steps if plan.averages else 1
    count = _WARM_UP + period * -(-steps // period)
    training = replace(job.training, steps=count, warmup_steps=0, validate_every=count)
    return Rehearsal(model=job.model, training=training, plan=plan, folders=tuple(folders), link=link)


def rehearse(given: Rehearsal) -> dict[str, Any]:
    """On every rank of the plan: its measure, as a table. What an earlier one left is let go first."""
    gc.collect()
    job = Job(model=given.model, training=given.training, cluster=ClusterSpec(ranks=given.plan.ranks))
    tokens = Path(given.folders[dist.get_rank()])
    return in_a_table(train_on_rank, Assignment(job=job, plan=given.plan, weights=None, tokens=tokens, link=given.link))


def prepared_on_rank(data: DataSpec, model: ModelSpec, training: TrainingSpec) -> list[str]:
    """On a rank: the folder of the tokens in its host's cache, and their digest. Raises as `prepared_tokens` does."""
    dataset = prepared_tokens(Job(model=model, data=data, training=training))
    return [str(dataset.folder), tokens_digest(dataset)]


TASKS = (prepared_on_rank, rehearse)  # what ranks of several hosts may be asked for, and what they are sent
CLASSES = (Rehearsal, ModelSpec, DataSpec, TrainingSpec, Plan, LinkSpeed)

"""What is legal but suspicious: a user is told, and nothing is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from plait.plans.arrangements import degree
from plait.specs.job import Job
from plait.specs.wording import counted

__all__ = ["Caution", "cautions"]


@dataclass(frozen=True, kw_only=True)
class Caution:
    """A key of the job, and what is odd about its value."""

    key: str
    message: str


def cautions(job: Job, cores: int) -> list[Caution]:
    """Everything suspicious about a job that is to run on a machine of so many cores."""
    found = (*_of_training(job), *_of_plan(job), *_of_ranks(job, cores))
    return [Caution(key=key, message=message) for key, message in found]


def _of_training(job: Job) -> Iterator[tuple[str, str]]:
    training = job.training
    if training.learning_rate == 0:
        yield "training.learning_rate", "a learning rate of 0 learns nothing"
    if training.warmup_steps > training.steps:
        message = f"warm-up of {training.warmup_steps} steps is longer than the run of {training.steps}"
        yield "training.warmup_steps", message
    if training.sequence_length == 1:
        yield "training.sequence_length", "with sequences of 1 token there is nothing to attend to"


def _of_plan(job: Job) -> Iterator[tuple[str, str]]:
    stages, replicas = degree(job, "pipeline") or 1, degree(job, "data") or 1
    microbatches = job.training.global_batch // (replicas * cast("int", job.constraints.get("microbatch", 1)))
    if microbatches < stages:
        message = f"at most {microbatches} microbatches for {stages} stages: some stages always wait"
        yield "plan.pipeline", message
    if job.constraints.get("sequence_parallel") and degree(job, "tensor") == 1:
        yield "plan.sequence_parallel", "sequence_parallel does nothing where tensor = 1"
    if job.training.precision == "fp64" and job.constraints.get("gradient_precision") == "fp32":
        yield "plan.gradient_precision", "a job of precision fp64 keeps and sums its gradients in fp64"


def _of_ranks(job: Job, cores: int) -> Iterator[tuple[str, str]]:
    if job.cluster.ranks > cores:
        ranks, shared = counted(job.cluster.ranks, "rank"), counted(cores, "core")
        message = f"{ranks} share the {shared} of this machine: they will wait for each other"
        yield "cluster.ranks", message

"""Training as one rank lives it: build its part, learn step after step, validate, save, and say how long things took.

Every rank runs the same lines. The first rank of the last stage knows the loss and tells the parent, event by event.
A rehearsal is the same without what only a run's result needs: nothing is validated, and nothing saved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.distributed as dist

from plait.checkpoint.families import WEIGHTS
from plait.checkpoint.save import save_tensors
from plait.collectives.process_groups import build_mesh
from plait.data.dataset import load_tokens
from plait.data.loader import Batch, Loader, validation_batches
from plait.devices.device import Device, deterministic, dtype_of, rank_device
from plait.devices.host import Load
from plait.launchers import emit
from plait.layers.gpt import describe_gpt
from plait.models.gpt import Decoder
from plait.models.sequences import Sequences
from plait.parallel.apply import parallelize
from plait.parallel.parameter_server import ParameterServer
from plait.plans.meetings import dense_steps
from plait.plans.plan import Plan
from plait.plans.prediction import Terms
from plait.plans.rows import rows_of
from plait.schedules.timeline import Timed
from plait.sharding.boxes import Interval
from plait.specs.job import Job
from plait.specs.links import LinkSpeed
from plait.specs.training import PRECISIONS
from plait.training.measures import RankMeasure, typical
from plait.training.optimizer import Optimizer
from plait.training.portions import given_out
from plait.training.step import StepResult, train_step

__all__ = ["VALIDATION_TOKENS", "Assignment", "train_on_rank"]

VALIDATION_TOKENS = 1 << 16  # held-out tokens that every validation looks at, the same ones each time
_WARM_UP_STEPS = 2  # the first steps allocate; they are not measured, unless there are no others
_MEASURED_STEPS = 1000  # a longer run is measured on its last ones: what it remembers doesn't grow

_NOTHING = Terms(compute=0.0, bubble=0.0, optimizer=0.0, exposed={"data": 0.0})

_Step = tuple[StepResult, tuple[Timed, ...]]


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What every rank is given: the same for all of them."""

    job: Job
    plan: Plan
    weights: Path | None  # where they are saved; None: a rehearsal
    tokens: Path  # the folder that the parent has filled
    link: LinkSpeed | None = None  # between hosts, as it was priced


def train_on_rank(assignment: Assignment) -> RankMeasure:
    """The whole run of this rank; every rank of the plan calls it."""
    device = rank_device()
    with deterministic(assignment.job.training.deterministic):
        return _RankTrainer(assignment, device).train()


class _RankTrainer:
    def __init__(self, assignment: Assignment, device: Device) -> None:
        job, plan = assignment.job, assignment.plan
        self._assignment, self._training, self._device = assignment, job.training, device
        self._layers = describe_gpt(job.model)
        self._dataset = load_tokens(assignment.tokens)
        mesh = build_mesh(plan.mesh, assignment.link)
        device.reset_peak_memory()
        self._memory_before = device.allocated_memory
        with torch.device("meta"):
            decoder = Decoder(job.model, seed=job.training.seed)
        decoder.to(dtype_of(PRECISIONS[job.training.precision].compute))
        self._model = parallelize(decoder, plan, mesh, device=device.torch)
        decays = {weight.name: weight.decays for layer in self._layers for weight in layer.weights}
        self._optimizer = Optimizer(
            self._model.shards, self._model.applied, decays, job.training,
            unfused=self._model.displaced, offload=plan.offloads,
        )  # fmt: skip
        self._unsteady = max(_WARM_UP_STEPS, dense_steps(plan, job.training))
        self._rows = rows_of(plan, job.training.global_batch, mesh.coordinate("data"))
        self._knows_loss = self._model.is_last_stage and mesh.coordinate("tensor") == 0
        self._reports = self._knows_loss and mesh.coordinate("data") == 0

    def train(self) -> RankMeasure:
        training = self._training
        loader = Loader(
            part=self._dataset.training,
            sequence_length=training.sequence_length,
            global_batch=training.global_batch,
            seed=training.seed,
        )
        steady: deque[_Step] = deque(maxlen=_MEASURED_STEPS)
        self._validate(0)
        load = Load()
        if self._model.server is not None:
            self._learn_in_portions(self._model.server, loader, steady)
        else:
            self._learn_in_steps(loader, steady)
        measure = replace(self._measure(steady), work=load.read())
        self._save()
        return measure

    def _learn_in_steps(self, loader: Loader, steady: deque[_Step]) -> None:
        for step in range(self._training.steps):
            result, tokens = self._learn(loader, step, self._rows, steady)
            if self._reports:
                self._tell(step, result, tokens, {"event": "step", "seconds": result.seconds})
            if self._validates_after(step):
                self._validate(step + 1)

    def _learn_in_portions(self, server: ParameterServer, loader: Loader, steady: deque[_Step]) -> None:
        """All ranks are together again where a validation is due."""
        plan, training, portions = self._assignment.plan, self._training, server.workers
        server.start(self._optimizer)
        for last in (step for step in range(training.steps) if self._validates_after(step)):
            for portion, waited in given_out(server, (last + 1) * portions):
                step, part = divmod(portion, portions)
                rows = rows_of(plan, training.global_batch, part)
                result, tokens = self._learn(loader, step, rows, steady, waited=waited)
                if self._knows_loss:
                    told = {"event": "portion", "seconds": result.seconds, "portions": portions}
                    self._tell(step, result, tokens, told)
            server.close() if last + 1 == training.steps else server.settle()
            self._validate(last + 1)

    def _learn(
        self, loader: Loader, step: int, rows: Interval, steady: deque[_Step], *, waited: float = 0.0
    ) -> tuple[StepResult, int]:
        """From these rows of a step's batch, for which it has `waited`; the targets of the whole batch, too."""
        batch = loader.batch(step, *rows)
        sequences = self._sequences(batch, step)
        result = train_step(self._model, self._optimizer, sequences, batch.target_count, self._training)
        result = result.after_waiting(waited)
        if step >= self._unsteady or self._training.steps <= self._unsteady:
            steady.append((result, tuple(self._model.timeline)))
        return result, batch.target_count

    def _validates_after(self, step: int) -> bool:
        return (step + 1) % self._training.validate_every == 0 or step + 1 == self._training.steps

    def _sequences(self, batch: Batch, step: int) -> Sequences:
        to = self._device.torch
        return Sequences.of(batch.tokens.to(to), batch.targets.to(to), samples=batch.samples.to(to), step=step)

    def _validate(self, step: int) -> None:
        """The mean loss of the same held-out tokens, each counted once."""
        if self._assignment.weights is None:
            return
        training = self._training
        total, count = 0.0, 0
        for batch in validation_batches(
            self._dataset.validation,
            sequence_length=training.sequence_length,
            global_batch=training.global_batch,
            max_sequences=max(1, VALIDATION_TOKENS // training.sequence_length),
            start=self._rows[0],
            stop=self._rows[1],
        ):
            total += self._model.evaluate(self._sequences(batch, step)) or 0.0
            count += batch.target_count
        if self._reports:
            per_token = self._dataset.validation.bytes_per_token
            emit({"event": "validation", "step": step, "loss": total / count, "bytes_per_token": per_token})

    def _tell(self, step: int, result: StepResult, tokens: int, told: dict[str, object]) -> None:
        emit({"step": step + 1, "loss": result.loss, "norm": result.norm, "tokens": tokens, **told,
              "validation_follows": self._validates_after(step)})  # fmt: skip

    def _save(self) -> None:
        plan, rank = self._assignment.plan, self._model.mesh.rank
        directory, steps = self._assignment.weights, self._training.steps
        if directory is None:
            return
        save_tensors(
            directory, {WEIGHTS: self._optimizer.masters}, self._layers, plan, rank, step=steps, barrier=_barrier
        )

    def _measure(self, steady: Collection[_Step]) -> RankMeasure:
        plan = self._assignment.plan
        period = plan.local_steps if plan.averages else 1
        return RankMeasure(
            step_seconds=typical([result.seconds for result, _ in steady] or [0.0], period),
            terms=_typical_terms([result.terms for result, _ in steady] or [_NOTHING], period),
            weight_bytes=self._model.weight_bytes,
            gradient_bytes=self._model.gradient_bytes,
            optimizer_bytes=self._optimizer.nbytes,
            peak_bytes=max(0, self._device.peak_memory - self._memory_before),  # it began with no growth
            timelines=tuple(timeline for _, timeline in steady),
        )


def _typical_terms(terms: Sequence[Terms], period: int) -> Terms:
    axes = terms[0].exposed
    return Terms(
        compute=typical([one.compute for one in terms], period),
        bubble=typical([one.bubble for one in terms], period),
        optimizer=typical([one.optimizer for one in terms], period),
        exposed={axis: typical([one.exposed[axis] for one in terms], period) for axis in axes},
    )


def _barrier() -> None:
    if dist.is_initialized():
        dist.barrier()

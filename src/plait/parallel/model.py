"""A model as one rank of a plan runs it: its stage, its slices of the weights, their gradients, and the schedule.

forward_backward   the schedule's actions over this rank's microbatches; data buckets leave while backward runs
sum_gradients      the sums that are left (`gradients`)
clip_gradients     by the one global norm
evaluate           the loss alone, forward only
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from plait.collectives.functional import all_reduce
from plait.collectives.process_groups import Group, Mesh
from plait.devices.device import Device, device_of
from plait.errors import IllegalJob
from plait.layers.layer import Layer
from plait.models.sequences import Sequences
from plait.parallel.data_parallel import GradientBuffers
from plait.parallel.gradients import clip, global_norm, perform_reductions, piece_of
from plait.parallel.pipeline_executor import PipelineExecutor
from plait.parallel.pipeline_stage import DecoderStage
from plait.plans.holdings import Held, owned_pieces, tied_stages
from plait.plans.legality import batch_problems
from plait.plans.plan import Plan
from plait.plans.reductions import Reduction, gradient_buckets, reduction_sets, reductions
from plait.schedules.checked import evaluation_schedule, training_schedule
from plait.schedules.timeline import Timed
from plait.sharding.boxes import copies

__all__ = ["ParallelModel"]

_DTYPES = {"fp32": torch.float32, "fp64": torch.float64}  # that gradients may be summed in, at least


class ParallelModel:
    """One rank's part of a model; `stage` has its module. `weights`, `held` and `gradients` go by global names."""

    def __init__(
        self,
        *,
        stage: DecoderStage,
        plan: Plan,
        mesh: Mesh,
        layers: Sequence[Layer],
        held: Mapping[str, Held],
        weights: dict[str, torch.nn.Parameter],
    ) -> None:
        self.plan, self.mesh, self.layers, self.held, self.weights = plan, mesh, layers, held, weights
        self.stage = stage
        dtype = next(iter(weights.values())).dtype
        self._reduce_dtype = torch.promote_types(dtype, _DTYPES[plan.gradient_precision])
        self._buffers = GradientBuffers(weights, self._buckets(), mesh.axis("data"), self._reduce_dtype)
        self.gradients = self._buffers.views
        self._sums = self._later_sums()
        self._owned = self._owned_views()
        self._legal: set[tuple[int, int]] = set()  # batches that were found to be so: sequences, and tokens of each
        self._executor = PipelineExecutor(stage, mesh.axis("pipeline"), self._buffers.expect_last)

    @property
    def is_last_stage(self) -> bool:
        """Whether this rank knows the loss."""
        return self.mesh.coordinate("pipeline") == self.plan.pipeline - 1

    @property
    def device(self) -> Device:
        """Where its weights are, and all that it computes."""
        return device_of(next(iter(self.weights.values())))

    @property
    def timeline(self) -> list[Timed]:
        """When each action of the last schedule ran; on an accelerator, when it was queued."""
        return self._executor.timeline

    @property
    def gradient_bytes(self) -> int:
        """Bytes of the gradients on this rank."""
        return self._buffers.nbytes

    @property
    def displaced(self) -> frozenset[str]:
        """The weights of which tensor ranks hold some elements in common, each in another place of its slice."""
        shares = self.plan.tensor_shares
        return frozenset(
            name for name, held in self.held.items() if any(copies(dim, shares) for dim in held.weight.dims)
        )

    def forward_backward(self, rows: Sequences, target_count: int) -> float | None:
        """Gradients of `rows`, this data rank's share of a global batch with `target_count` targets in all.

        A last microbatch may be smaller. Returns the mean loss of the global batch on the ranks of the last stage, None
        elsewhere.
        """
        self._require_legal(self.plan.microbatch * self.plan.data, rows)
        microbatches = self._microbatches(rows)
        self._buffers.begin()
        self.stage.train(True)
        schedule = training_schedule(self.plan.schedule, self.plan.pipeline, len(microbatches))
        total = self._executor.run(schedule, microbatches, 1.0 / target_count)
        return None if total is None else self._over_data(total) / target_count

    def require_legal(self, rows: Sequences) -> None:
        """Raises IllegalJob, with what `plait check` says, where `rows`, this data rank's share of a global batch,
        can't be dealt out in whole microbatches, or are too long or too short: no rank has sent anything then."""
        self._require_legal(len(rows.samples) * self.plan.data, rows)

    def _require_legal(self, global_batch: int, rows: Sequences) -> None:
        extent = (global_batch, rows.positions.shape[-1])
        if extent not in self._legal:
            if wrong := batch_problems(self.stage.decoder.spec, self.plan, *extent):
                raise IllegalJob(wrong)
            self._legal.add(extent)

    def evaluate(self, rows: Sequences) -> float | None:
        """The sum of the losses of all data ranks' `rows` on the ranks of the last stage, None elsewhere."""
        microbatches = self._microbatches(rows)
        self.stage.train(False)
        with torch.no_grad():
            schedule = evaluation_schedule(self.plan.pipeline, len(microbatches))
            total = self._executor.run(schedule, microbatches, 1.0)
        return None if total is None else self._over_data(total)

    def sum_gradients(self) -> None:
        """Complete every sum over ranks: afterwards `gradients` are the global batch's."""
        self._buffers.finish()
        perform_reductions(self.gradients, self._sums)

    def clip_gradients(self, limit: float) -> float:
        """Scale the gradients to a global norm of at most `limit`; returns the norm before."""
        norm = global_norm(self._owned, self.mesh)
        clip(self._buffers.flat, norm, limit)
        return norm

    def _microbatches(self, rows: Sequences) -> list[Sequences]:
        count = len(rows.samples)
        return [rows.rows(start, start + self.plan.microbatch) for start in range(0, count, self.plan.microbatch)]

    def _over_data(self, total: torch.Tensor) -> float:
        return all_reduce(total.double().reshape(1), self.mesh.axis("data")).wait().item()

    def _buckets(self) -> list[list[str]]:
        buckets = gradient_buckets(tuple(self.held.values()), self.plan, self._reduce_dtype.itemsize)
        return [[held.weight.name for held in bucket] for bucket in buckets]

    def _later_sums(self) -> list[tuple[Reduction, Group]]:
        steps = reductions(self.layers, self.plan, self.mesh.rank, self._reduce_dtype.itemsize)
        groups = {axis: self.mesh.subsets(axis, sets) for axis, sets in reduction_sets(self.layers, self.plan).items()}
        return [(step, groups[step.axis][step.members]) for step in steps if step.axis != "data"]

    def _owned_views(self) -> list[torch.Tensor]:
        stage, tensor_rank = self.mesh.coordinate("pipeline"), self.mesh.coordinate("tensor")
        tied = tied_stages(self.layers, self.plan)
        counted = [held for name, held in self.held.items() if tied.get(name, (stage,))[0] == stage]
        pieces = [piece for held in counted for piece in owned_pieces(held, self.plan, tensor_rank)]
        return [piece_of(self.gradients, piece) for piece in pieces]

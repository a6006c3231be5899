"""The run that is judged: the user's plan, performed by the very runtime that trains, on every rank.

Each rank returns what it holds, with the intervals that say where in the global tensor that lies; `assembled` puts the
whole together again and shows where copies of one element disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from plait.collectives.process_groups import build_mesh
from plait.layers.gpt import describe_gpt
from plait.models.gpt import Decoder
from plait.parallel.apply import parallelize
from plait.plans.plan import Plan
from plait.sharding.boxes import Interval
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.training.optimizer import Optimizer
from plait.training.step import train_step
from plait.verification.trace import Entry, EntryKind, Trace, probe_batch

__all__ = ["RankTrace", "assembled", "candidate_trace"]


@dataclass(frozen=True, kw_only=True)
class RankTrace:
    """One rank's tensors, and for each weight that it holds its intervals along every dim."""

    tensors: Trace
    intervals: dict[str, tuple[tuple[Interval, ...], ...]]


def candidate_trace(
    model: ModelSpec, training: TrainingSpec, plan: Plan, *, dtype: torch.dtype, steps: int
) -> RankTrace:
    """Train for `steps` under `plan`; every rank of the plan calls it."""
    with torch.device("meta"):
        decoder = Decoder(model, seed=training.seed).to(dtype)
    parallel = parallelize(decoder, plan, build_mesh(plan.mesh))
    decays = {weight.name: weight.decays for layer in describe_gpt(model) for weight in layer.weights}
    optimizer = Optimizer(parallel.weights, parallel.gradients, decays, training)
    share = training.global_batch // plan.data
    first = parallel.mesh.coordinate("data") * share
    trace: Trace = {}
    for step in range(steps):
        rows = probe_batch(model, training, step).rows(first, first + share)
        targets = training.global_batch * training.sequence_length
        keep_gradients = partial(_keep, trace, step + 1, "gradient", parallel.gradients)
        result = train_step(parallel, optimizer, rows, targets, training, on_gradients=keep_gradients)
        if result.loss is not None:
            trace[Entry(step + 1, "loss", "loss")] = torch.tensor(result.loss, dtype=torch.float64)
        if result.norm is not None:
            trace[Entry(step + 1, "norm", "norm")] = torch.tensor(result.norm, dtype=torch.float64)
        _keep(trace, step + 1, "weight", optimizer.masters)
        for name, state in optimizer.state.items():
            _keep(trace, step + 1, "optimizer", {f"{name}/{key}": value for key, value in state.items()})
    return RankTrace(tensors=trace, intervals={name: held.intervals for name, held in parallel.held.items()})


def _keep(trace: Trace, step: int, kind: EntryKind, tensors: Mapping[str, torch.Tensor]) -> None:
    trace.update({Entry(step, kind, name): tensor.detach().clone() for name, tensor in tensors.items()})


def assembled(ranks: Sequence[RankTrace], shapes: Mapping[str, tuple[int, ...]]) -> tuple[Trace, dict[Entry, float]]:
    """The whole tensors, and for each the largest difference between two ranks' copies of one element.

    Raises KeyError where a rank holds a tensor of a weight that `shapes` lacks.
    """
    whole: Trace = {}
    spread: dict[Entry, float] = {}
    for rank in ranks:
        for entry, tensor in rank.tensors.items():
            intervals = rank.intervals.get(entry.name.partition("/")[0])
            if intervals is None or tensor.dim() == 0:
                _merge(whole, spread, entry, tensor, tensor.shape, tuple(((0, size),) for size in tensor.shape))
            else:
                _merge(whole, spread, entry, tensor, shapes[entry.name.partition("/")[0]], intervals)
    return whole, spread


def _merge(
    whole: Trace,
    spread: dict[Entry, float],
    entry: Entry,
    tensor: torch.Tensor,
    shape: Sequence[int],
    intervals: tuple[tuple[Interval, ...], ...],
) -> None:
    """Put a rank's slice into its place; where another rank has been before, note how far the two are apart."""
    target = whole.setdefault(entry, torch.full(tuple(shape), torch.nan, dtype=tensor.dtype))
    index = [torch.cat([torch.arange(start, stop) for start, stop in pieces]) for pieces in intervals]
    place = torch.meshgrid(*index, indexing="ij") if index else ()
    before = target[place]
    apart = torch.where(before.isnan(), torch.zeros_like(before), (before - tensor).abs())
    spread[entry] = max(spread.get(entry, 0.0), float(apart.max()) if apart.numel() else 0.0)
    target[place] = tensor

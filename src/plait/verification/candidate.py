"""The run that is judged: the user's plan, performed by the very runtime that trains, on every rank.

Each rank returns what it holds, with the intervals that say where in the whole tensor that lies (`compare` puts it
together again). A step may begin from a given state instead of the one that the step before has left:

    free       step 1 ──► step 2                     as in training
    judged     step 1     step 2                     each from the reference's own state, cut as the plan cuts it
                          └ reference's step 1
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
import torch

from plait.collectives.process_groups import build_mesh
from plait.layers.gpt import describe_gpt
from plait.models.gpt import Decoder
from plait.parallel.apply import parallelize
from plait.parallel.model import ParallelModel
from plait.plans.holdings import positions_held
from plait.plans.plan import Plan
from plait.sharding.boxes import Interval
from plait.specs.model import ModelSpec
from plait.specs.training import PRECISIONS as POLICIES
from plait.specs.training import TrainingSpec
from plait.training.optimizer import Optimizer
from plait.training.step import StepResult, train_step
from plait.verification.probe import DTYPES, probe_batch
from plait.verification.trace import Entry, EntryKind, Precision, RankTrace, Trace
from plait.verification.watch import Watch

__all__ = ["candidate_trace"]


def candidate_trace(
    model: ModelSpec,
    training: TrainingSpec,
    plan: Plan,
    *,
    precision: Precision,
    steps: int = 2,
    state: Trace | None = None,
) -> RankTrace:
    """Train for `steps` under `plan`; every rank of the plan calls it.

    `state`: whole weights and optimizer tensors after each step, from which the next one begins.
    """
    with torch.device("meta"):
        decoder = Decoder(model, seed=training.seed).to(DTYPES[precision])
    parallel = parallelize(decoder, plan, build_mesh(plan.mesh))
    watch = Watch(decoder)
    decays = {weight.name: weight.decays for layer in describe_gpt(model) for weight in layer.weights}
    policy = POLICIES[training.precision]
    optimizer = Optimizer(
        parallel.weights,
        parallel.gradients,
        decays,
        training,
        unfused=parallel.displaced,
        separate_masters=policy.compute != policy.master,
    )
    share = training.global_batch // plan.data
    first = parallel.mesh.coordinate("data") * share
    intervals = _intervals(parallel, model, training, (first, first + share))
    trace: Trace = {}
    for step in range(steps):
        rows = probe_batch(model, training, step).rows(first, first + share)
        targets = training.global_batch * training.sequence_length
        note = partial(_note, trace, step + 1)
        keep_gradients = partial(note, "gradient", parallel.gradients)
        result = train_step(parallel, optimizer, rows, targets, training, on_gradients=keep_gradients)
        note("value", watch.take())
        _note_numbers(trace, step + 1, result)
        if training.clip_norm > 0:
            note("gradient", {f"{name}/clipped": gradient for name, gradient in parallel.gradients.items()})
        note("weight", parallel.weights)
        note("optimizer", dict(_states(optimizer)))
        if state is not None and step + 1 < steps:
            _begin_from(state, step + 1, parallel, optimizer, intervals)
    return RankTrace(tensors=trace, intervals=intervals)


def _intervals(
    parallel: ParallelModel, model: ModelSpec, training: TrainingSpec, rows: Interval
) -> dict[str, tuple[tuple[Interval, ...], ...]]:
    """Where this rank's weights and values lie in the whole ones."""
    plan, tensor_rank = parallel.plan, parallel.mesh.coordinate("tensor")
    length = training.sequence_length
    values = ((rows,), (positions_held(plan, tensor_rank, length),), ((0, model.hidden),))
    return {
        **{held.weight.name: held.intervals for held in parallel.held.values()},
        **{layer.name: values for layer in parallel.layers},
    }


def _note(trace: Trace, step: int, kind: EntryKind, tensors: Mapping[str, torch.Tensor]) -> None:
    trace.update({Entry(step, kind, name): tensor.detach().clone().numpy() for name, tensor in tensors.items()})


def _note_numbers(trace: Trace, step: int, result: StepResult) -> None:
    if result.loss is not None:
        trace[Entry(step, "loss", "loss")] = np.array(result.loss)
    if result.norm is not None:
        trace[Entry(step, "norm", "norm")] = np.array(result.norm)


def _states(optimizer: Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
    for name, state in optimizer.state.items():
        yield from ((f"{name}/{key}", value) for key, value in state.items())


@torch.no_grad()
def _begin_from(
    state: Trace,
    step: int,
    parallel: ParallelModel,
    optimizer: Optimizer,
    intervals: Mapping[str, tuple[tuple[Interval, ...], ...]],
) -> None:
    """Overwrite weights and optimizer tensors by this rank's slices of whole ones."""
    targets = [
        (Entry(step, "weight", name), weight)
        for weights in (parallel.weights, optimizer.masters)
        for name, weight in weights.items()
    ]
    targets += [(Entry(step, "optimizer", name), value) for name, value in _states(optimizer)]
    here = RankTrace(tensors={entry: target.detach().numpy() for entry, target in targets}, intervals=dict(intervals))
    for entry, target in targets:
        target.copy_(torch.as_tensor(state[entry][np.ix_(*here.box(entry))]))

"""The one-process reference: the plain model, plain microbatches, torch's own optimizer and clipping.

It reaches nothing of `parallel/` or `collectives/`, also not through others (an import contract holds that), so that it
can't share a mistake with what it judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from plait.layers.gpt import describe_gpt
from plait.models.gpt import Decoder
from plait.models.init import initialise
from plait.models.sequences import Sequences
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.training.learning_rate import learning_rate_at
from plait.verification.trace import Entry, Trace, probe_batch

__all__ = ["reference_trace"]


def reference_trace(
    model: ModelSpec,
    training: TrainingSpec,
    *,
    dtype: torch.dtype,
    microbatch: int,
    steps: int,
    backwards: bool = False,
) -> Trace:
    """Train for `steps` in one process, in microbatches of `microbatch` sequences; `backwards` takes them last to first
    (the same sums in another order: it measures what rounding alone does)."""
    decoder = Decoder(model, seed=training.seed).to(dtype)
    initialise(decoder, model, training.seed)
    weights = _by_identity(decoder, model)
    optimizer = _optimizer(weights, model, training)
    trace: Trace = {}
    for step in range(steps):
        losses = [
            _learn(decoder, rows, training) for rows in _microbatches(model, training, step, microbatch, backwards)
        ]
        trace[Entry(step + 1, "loss", "loss")] = torch.stack(losses).sum()
        for name, weight in weights.items():
            assert weight.grad is not None  # every weight of the model has one after backward
            trace[Entry(step + 1, "gradient", name)] = weight.grad.clone()
        if training.clip_norm > 0:
            norm = torch.nn.utils.clip_grad_norm_(weights.values(), training.clip_norm)
            trace[Entry(step + 1, "norm", "norm")] = norm.detach()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, training)
        optimizer.step()
        optimizer.zero_grad()
        trace.update(_state(step + 1, weights, optimizer))
    return trace


def _microbatches(
    model: ModelSpec, training: TrainingSpec, step: int, size: int, backwards: bool
) -> Iterator[Sequences]:
    batch = probe_batch(model, training, step)
    starts: Iterable[int] = range(0, training.global_batch, size)
    for start in sorted(starts, reverse=backwards):
        yield batch.rows(start, start + size)


def _learn(decoder: Decoder, rows: Sequences, training: TrainingSpec) -> torch.Tensor:
    loss = decoder(rows) / (training.global_batch * training.sequence_length)
    loss.backward()
    return loss.detach()


def _by_identity(decoder: Decoder, model: ModelSpec) -> dict[str, torch.nn.Parameter]:
    parameters = dict(decoder.named_parameters())
    return {weight.name: parameters[weight.name] for layer in describe_gpt(model) for weight in layer.weights}


def _optimizer(
    weights: dict[str, torch.nn.Parameter], model: ModelSpec, training: TrainingSpec
) -> torch.optim.Optimizer:
    decays = {weight.name: weight.decays for layer in describe_gpt(model) for weight in layer.weights}
    groups = [
        {"params": [weights[name] for name in weights if decays[name]], "weight_decay": training.weight_decay},
        {"params": [weights[name] for name in weights if not decays[name]], "weight_decay": 0.0},
    ]
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=training.learning_rate, betas=training.betas)
    return torch.optim.SGD(groups, lr=training.learning_rate, momentum=training.betas[0])


def _state(
    step: int, weights: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> Iterator[tuple[Entry, torch.Tensor]]:
    for name, weight in weights.items():
        yield Entry(step, "weight", name), weight.detach().clone()
        for key, value in optimizer.state[weight].items():
            if isinstance(value, torch.Tensor):
                yield Entry(step, "optimizer", f"{name}/{key}"), value.clone()

"""The one-process reference: the plain model, plain microbatches, torch's own optimizer and clipping.

    plain         microbatches first to last
    backwards     last to first                          the same sums in another order:
    renumbered    features, heads and tokens permuted    what these two change is what rounding alone changes

It reaches nothing of `parallel/` or `collectives/`, also not through others (an import contract holds that), so that it
can't share a mistake with what it judges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor

from plait.layers.layer import Layer
from plait.models.gpt import Decoder
from plait.models.sequences import Sequences
from plait.specs.training import PRECISIONS as POLICIES
from plait.specs.training import TrainingSpec
from plait.training.learning_rate import learning_rate_at
from plait.verification.lift import Lift
from plait.verification.numbering import Numbering
from plait.verification.source import Experiment
from plait.verification.trace import Entry, Order, Precision, Reference, Trace
from plait.verification.watch import Watch

__all__ = ["reference_trace"]

_Tensors = Iterator[tuple[Entry, Tensor]]


def reference_trace(
    experiment: Experiment, *, precision: Precision, steps: int = 2, order: Order = "plain"
) -> Reference:
    """Train for `steps` in one process, in the plan's microbatches; everything that came up."""
    source, training = experiment.source, experiment.training
    decoder, layers = source.whole(precision), source.layers
    torch.seed()  # what a model draws unkeyed must not be the same twice
    numbering = Numbering(decoder.spec, layers, training.seed) if order == "renumbered" else None
    if numbering is not None:
        numbering.renumber(decoder)
    watch, weights = Watch(decoder), _by_identity(decoder, layers)
    optimizer = _optimizer(weights, layers, training)
    lift = Lift(lambda: (watch.layer, watch.sample))
    watch.around = source.computing(precision, lift)
    trace: Trace = {}
    for step in range(steps):
        batch = source.batch(step)
        batch = batch if numbering is None else numbering.tokens(batch)
        targets = experiment.targets(step)
        microbatches = list(_microbatches(batch, experiment.plan.microbatch, order))
        losses = [_learn(decoder, rows, targets) for rows in microbatches]
        found = _step(step, torch.stack(losses).sum(), watch, weights, optimizer, training)
        for entry, tensor in chain(found, _evaluate(step, decoder, microbatches, watch)):
            tensor = tensor if numbering is None else numbering.undo(entry.owner, tensor)
            trace[entry] = tensor.detach().clone().numpy()
    return Reference(trace=trace, pinned=frozenset(lift.pinned), looks=lift.looks)


def _microbatches(batch: Sequences, size: int, order: Order) -> Iterator[Sequences]:
    for start in sorted(range(0, len(batch.samples), size), reverse=order == "backwards"):
        yield batch.rows(start, start + size)


def _learn(decoder: Decoder, rows: Sequences, targets: int) -> Tensor:
    loss = decoder(rows) / targets
    loss.backward()
    return loss.detach()


@torch.no_grad()
def _evaluate(step: int, decoder: Decoder, microbatches: Sequence[Sequences], watch: Watch) -> _Tensors:
    """The batch of the step once more, forward only, with the weights that the step has left."""
    decoder.eval()
    losses = [decoder(rows) for rows in microbatches]
    decoder.train()
    yield from ((Entry(step + 1, "value", f"{name}/evaluated"), value) for name, value in watch.take().items())
    yield Entry(step + 1, "loss", "loss/evaluated"), torch.stack(losses).sum()


def _by_identity(decoder: Decoder, layers: Sequence[Layer]) -> dict[str, torch.nn.Parameter]:
    parameters = dict(decoder.named_parameters())
    return {weight.name: parameters[weight.name] for layer in layers for weight in layer.weights}


def _optimizer(
    weights: Mapping[str, torch.nn.Parameter], layers: Sequence[Layer], training: TrainingSpec
) -> torch.optim.Optimizer:
    decays = {weight.name: weight.decays for layer in layers for weight in layer.weights}
    groups = [
        {"params": [weights[name] for name in weights if decays[name]], "weight_decay": training.weight_decay},
        {"params": [weights[name] for name in weights if not decays[name]], "weight_decay": 0.0},
    ]
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=training.learning_rate, betas=training.betas)
    return torch.optim.SGD(groups, lr=training.learning_rate, momentum=training.betas[0])


def _step(
    step: int,
    loss: Tensor,
    watch: Watch,
    weights: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    training: TrainingSpec,
) -> _Tensors:
    """The step after its backward, and what there is to see, in the order in which it comes up."""
    number = step + 1
    yield from ((Entry(number, "value", name), value) for name, value in watch.take().items())
    yield Entry(number, "loss", "loss"), loss
    for weight in weights.values():  # what nothing has read: torch.optim would pass it over, and Plait doesn't
        weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
    gradients = {name: weight.grad for name, weight in weights.items() if weight.grad is not None}
    yield from ((Entry(number, "gradient", name), gradient) for name, gradient in gradients.items())
    if training.clip_norm > 0:
        yield Entry(number, "norm", "norm"), torch.nn.utils.clip_grad_norm_(weights.values(), training.clip_norm)
        yield Entry(number, "norm", "norm/clipped"), torch.nn.utils.get_total_norm(gradients.values())
    for group in optimizer.param_groups:
        group["lr"] = learning_rate_at(step, training)
    optimizer.step()
    optimizer.zero_grad()
    yield from ((Entry(number, "weight", name), weight) for name, weight in weights.items())
    policy = POLICIES[training.precision]
    if policy.compute != policy.master:
        yield from ((Entry(number, "weight", f"{name}/master"), weight) for name, weight in weights.items())
    for name, weight in weights.items():
        state = optimizer.state[weight].items()
        yield from ((Entry(number, "optimizer", f"{name}/{key}"), value) for key, value in state if value is not None)

"""Mistakes to be planted in the parallel runtime, each a context manager that every rank enters around its run.

They are of the kind that real frameworks shipped: the loss stays right, or nearly so, and something else is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

Wrapper = Callable[[Callable[..., Any]], Callable[..., Any]]


@contextmanager
def wrapped(target: str, wrapper: Wrapper) -> Iterator[None]:
    """The function at a dotted path replaced by `wrapper` of it."""
    from importlib import import_module

    path, *leaves = target.split(":")
    owner: Any = import_module(path)
    *owners, name = leaves[0].split(".")
    for leaf in owners:
        owner = getattr(owner, leaf)
    with patch.object(owner, name, wrapper(getattr(owner, name))):
        yield


def no_sums_over_the_sequence():
    """Sequence parallelism: the gradients of replicated norms and biases stay partial (Megatron-LM#1446)."""
    return wrapped("plait.parallel.model:perform_reductions", _without("tensor"))


def no_sum_of_tied_copies():
    """Tied embeddings: each stage keeps its own part of the gradient (Megatron-LM#656)."""
    return wrapped("plait.parallel.model:perform_reductions", _without("pipeline"))


def _without(axis: str) -> Wrapper:
    def wrapper(perform):
        return lambda gradients, steps: perform(
            gradients, [(step, group) for step, group in steps if step.axis != axis]
        )

    return wrapper


def first_stage_scaled(factor: float):
    """Pipeline: the first stage scales the gradient that reaches it; the loss is right (DeepSpeed#8152)."""

    def wrapper(backward):
        def scaling(self, microbatch):
            for key, gradient in self._arrived.items():
                if self._group.index == 0 and "B" in key[0].name:
                    gradient.mul_(factor)
            backward(self, microbatch)

        return scaling

    return wrapped("plait.parallel.pipeline_executor:_Performance._backward", wrapper)


def row_bias_on_every_rank():
    """Tensor: a row-parallel product adds its bias before the sum, once a rank."""

    def wrapper(_):
        def call(self, x, weight, bias):
            from torch.nn import functional as F

            from plait.collectives.crossing import cross

            partial = F.linear(x, weight, bias)
            return cross(partial, self.transition, self.group, partial.shape[1])

        return call

    return wrapped("plait.parallel.tensor_parallel:_RowMultiply.__call__", wrapper)


def norm_counts_copies():
    """The gradient norm counts what is replicated once for each tensor rank (TransformerEngine#715)."""
    return wrapped("plait.parallel.model:ParallelModel._owned_views", lambda _: lambda self: [*self.gradients.values()])


def first_bucket_stays_local():
    """Data: the first bucket of gradients is never summed."""

    def wrapper(launch):
        def skipping(self, up_to):
            from plait.collectives.functional import Handle

            if not self._launched:
                self._launched.append(Handle("data", None, lambda: self.flat[0]))
            launch(self, up_to)

        return skipping

    return wrapped("plait.parallel.data_parallel:GradientBuffers._launch", wrapper)


def divided_by_local_tokens():
    """Data: gradients are divided by this rank's tokens instead of all of them; the loss is reported right."""

    def wrapper(forward_backward):
        def local(self, rows, target_count):
            loss = forward_backward(self, rows, target_count // self.plan.data)
            return None if loss is None else loss / self.plan.data

        return local

    return wrapped("plait.parallel.model:ParallelModel.forward_backward", wrapper)


def last_microbatch_only():
    """Accumulation: gradients are wiped between microbatches (Automodel#3530)."""

    def wrapper(backward):
        def wiping(self, microbatch):
            for weight in self._stage.decoder.parameters():
                weight.grad.zero_()
            backward(self, microbatch)

        return wiping

    return wrapped("plait.parallel.pipeline_executor:_Performance._backward", wrapper)


def layer_lost_between_stages():
    """Pipeline: the last block of the first stage belongs to nobody (torchtitan#963)."""

    def wrapper(stage_layers):
        def losing(layers, stages):
            found = stage_layers(layers, stages)
            return found if len(found) == 1 else (found[0][:-1], *found[1:])

        return losing

    return wrapped("plait.parallel.apply:stage_layers", wrapper)


def one_copy_drifts():
    """Data: the last rank's optimizer takes a slightly longer step."""

    def wrapper(step):
        def longer(self, learning_rate):
            import os

            last = os.environ["RANK"] == str(int(os.environ["WORLD_SIZE"]) - 1)
            step(self, learning_rate * (1.0 + 1e-9 * last))

        return longer

    return wrapped("plait.training.optimizer:Optimizer.step", wrapper)


def first_update_scaled(factor: float):
    """The optimizer's first step is too long, on every rank alike."""

    def wrapper(step):
        def longer(self, learning_rate):
            before = any(self.state.values())
            step(self, learning_rate * (1.0 if before else factor))

        return longer

    return wrapped("plait.training.optimizer:Optimizer.step", wrapper)


def fused_everywhere():
    """Copies that stand in different places are updated by a kernel that rounds the ends of tensors differently."""
    return wrapped("plait.parallel.model:ParallelModel.displaced", lambda _: property(lambda self: frozenset()))


def masters_not_copied():
    """Mixed precision: the weights stay what they were, and only their masters learn."""

    def wrapper(step):
        def forgetting(self, learning_rate):
            copies, self._copies = self._copies, []
            step(self, learning_rate)
            self._copies = copies

        return forgetting

    return wrapped("plait.training.optimizer:Optimizer.step", wrapper)


def dropout_by_local_sample():
    """Dropout is keyed by the place in the rank's own rows: ranks with different data drop alike."""

    def wrapper(forward_backward):
        def local(self, rows, target_count):
            first = self.mesh.coordinate("data") * len(rows.samples)
            return forward_backward(self, replace(rows, samples=rows.samples - first), target_count)

        return local

    return wrapped("plait.parallel.model:ParallelModel.forward_backward", wrapper)


def unkeyed_noise():
    """Not a mistake of the plan: a model that draws from the process's own generator."""

    def wrapper(forward):
        def noisy(self, hidden, sequences):
            import torch

            return forward(self, hidden, sequences) + 1e-3 * torch.randn(())

        return noisy

    return wrapped("plait.models.block:Block.forward", wrapper)


def not_a_number():
    """One value of the parallel run's last block is NaN."""

    def wrapper(finish):
        return lambda self, hidden, sequences: finish(self, hidden, sequences) * float("nan")

    return wrapped("plait.models.gpt:Decoder._finish", wrapper)


def dying_rank():
    """A rank raises in the middle."""

    def wrapper(_):
        def dying(self, learning_rate):
            raise ArithmeticError("planted")

        return dying

    return wrapped("plait.training.optimizer:Optimizer.step", wrapper)

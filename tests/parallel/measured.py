"""What one rank of a plan really does in a steady step: its messages counted twice over, its bytes, its FLOPs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from plait.collectives.process_groups import build_mesh
from plait.collectives.recorder import record
from plait.devices.flop_counter import flop_counter
from plait.layers.gpt import describe_gpt
from plait.models.gpt import Decoder
from plait.parallel.apply import parallelize
from plait.parallel.data_parallel import GradientBuffers
from plait.parallel.model import ParallelModel
from plait.plans.prediction import Traffic
from plait.sharding.boxes import Interval
from plait.specs.training import PRECISIONS
from plait.training.optimizer import Optimizer
from plait.training.step import train_step
from tests.parallel.cases import Case, rows_of
from tests.parallel.wire import Wire, count_on_the_wire

DTYPES = {"fp64": torch.float64, "fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Of one rank. `shapes` and `intervals` (along each dim) are those of its weights, by their global names."""

    traffic: tuple[Traffic, ...]
    wire: Wire
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    residual_bytes: int
    flops: int
    shapes: dict[str, tuple[int, ...]]
    intervals: dict[str, tuple[tuple[Interval, ...], ...]]
    norm_of_ones: float  # the global norm where every gradient is 1: it counts the elements


def measure(case: Case) -> Measured:
    """Three steps on the rank that calls it: one to warm up, one for the messages, one for the FLOPs."""
    model = build(case)
    offload = case.plan.offloads
    optimizer = Optimizer(model.shards, model.gradients, decays(case), case.training, offload=offload)
    learn(case, model, optimizer, 0)
    with record() as recorder, count_on_the_wire() as wire:
        learn(case, model, optimizer, 1)
    with flop_counter() as flops:
        learn(case, model, optimizer, 2)
    buffers = model._sharing  # a rank may keep nothing of the sums, and has gradients all the same
    for gradient in model.gradients.values():
        gradient.fill_(1.0)
    return Measured(
        traffic=recorder.traffic(),
        wire=wire,
        weight_bytes=allocated([*model.decoder.parameters(), *model.shards.values()]),
        gradient_bytes=allocated(buffers.flat if isinstance(buffers, GradientBuffers) else buffers.kept.values()),
        optimizer_bytes=optimizer.nbytes,
        residual_bytes=model.carried.nbytes,
        flops=flops.get_total_flops(),
        shapes={name: tuple(weight.shape) for name, weight in model.weights.items()},
        intervals={name: one.intervals for name, one in (model.kept if case.plan.zero == 3 else model.held).items()},
        norm_of_ones=model.clip_gradients(limit=1e9),
    )


def allocated(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of the storages behind these tensors, each once: a view of something larger counts it all."""
    storages = [tensor.untyped_storage() for tensor in tensors]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def build(case: Case) -> ParallelModel:
    """This rank's part of the case's model."""
    with torch.device("meta"):
        decoder = Decoder(case.model)
    dtype = DTYPES[PRECISIONS[case.training.precision].compute]
    return parallelize(decoder.to(dtype), case.plan, build_mesh(case.plan.mesh))


def decays(case: Case) -> dict[str, bool]:
    """Which weights decay, by name."""
    return {weight.name: weight.decays for layer in describe_gpt(case.model) for weight in layer.weights}


def learn(case: Case, model: ParallelModel, optimizer: Optimizer, step: int) -> None:
    """One step."""
    rows = rows_of(case, model.mesh.coordinate("data"), step)
    targets = case.training.global_batch * case.training.sequence_length
    train_step(model, optimizer, rows, targets, case.training)


Ask = Callable[[Case], list[Measured]]

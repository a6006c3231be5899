"""Random small jobs that are legal, each with a complete plan: what `verify` must never raise a false alarm about.

    choose ──► degrees ──► model, training, plan        every later choice is drawn among what is legal by then

One generator for two uses: a property test chooses with hypothesis, a campaign with a random number generator of its
own for each job (`numbered`), so that job n is a function of n alone. It knows specs and plans; it runs nothing.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol, TypeVar

from plait.plans.legality import plan_problems
from plait.plans.plan import Plan
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec

__all__ = ["Choose", "Drawn", "drawn_job", "numbered"]

# Out of a hundred jobs; mostly few ranks, which is where time goes, and three axes at once where there are eight.
_RANKS = (2,) * 27 + (3,) * 22 + (4,) * 38 + (1,) * 4 + (6,) * 4 + (8,) * 5
_EXTRA_CUBES = 12  # of eight ranks, on top of the once that 2 × 2 × 2 has among the other factorings
_MOST_HEADS, _MOST_LAYERS, _MOST_BATCH, _LONGEST = 6, 5, 12, 17
_MOST_MICROBATCHES = 5
_LAYERS_ON_MANY = 3  # where more than two ranks share each layer: all of them meet four times a layer and microbatch
_SHARES = (1, 2, 3, 0.5, 1.5)

T = TypeVar("T")


class Choose(Protocol):
    """Where choices come from. The first option, and the lowest number, is the simplest."""

    def integers(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        ...

    def pick(self, options: Sequence[T]) -> T:
        """One of the options."""
        ...


class Drawn(NamedTuple):
    """A legal job that fixes all of its plan, and that plan."""

    job: Job
    plan: Plan


def numbered(number: int) -> Drawn:
    """Job `number` of the campaign; the same one every time, on every machine."""
    return drawn_job(_Numbered(number))


def drawn_job(choose: Choose) -> Drawn:
    """One legal job with its plan."""
    data, tensor, pipeline = choose.pick(_factorings(choose.pick(_RANKS)))
    model = _model(choose, tensor, pipeline)
    sequence_parallel = tensor > 1 and choose.pick((False, True))
    length = choose.integers(tensor if sequence_parallel else 1, _LONGEST)
    count = choose.integers(1, min(_MOST_MICROBATCHES, _MOST_BATCH // data))
    microbatch = choose.integers(1, _MOST_BATCH // (data * count))
    training = _training(choose, data * count * microbatch, length)
    plan = Plan(
        data=data,
        tensor=tensor,
        pipeline=pipeline,
        microbatch=microbatch,
        schedule=choose.pick(("1f1b", "gpipe")),
        stages=_stages(choose, model.layers, pipeline),
        tensor_shares=_tensor_shares(choose, tensor),
        data_shares=(1,) * data,
        sequence_parallel=sequence_parallel,
        gradient_precision=choose.pick(("fp64", "fp32")) if training.precision == "fp64" else "fp32",
        bucket_bytes=choose.pick((25 * 2**20, 4096, 256)),
    )
    job = Job(
        model=replace(model, max_positions=length),
        training=training,
        cluster=ClusterSpec(ranks=data * tensor * pipeline),
    )
    if plan_problems(job, plan):  # shares that would leave a rank without any heads; nothing else can be wrong
        plan = replace(plan, tensor_shares=(1,) * tensor)
    if data > 1:  # drawn last: all else is what a number meant before there was this
        job, plan = _unevenly_dealt(choose, job, plan)
    return Drawn(replace(job, constraints=vars(plan)), plan)


def _unevenly_dealt(choose: Choose, job: Job, plan: Plan) -> tuple[Job, Plan]:
    """Any level of ZeRO; sometimes unequal shares, sometimes a batch that doesn't divide."""
    plan = replace(plan, zero=choose.pick((0, 0, 1, 2, 3)))
    shares = tuple(choose.pick(_SHARES) for _ in range(plan.data))
    if choose.pick((False, False, True)):
        plan = replace(plan, data_shares=shares)
    more = choose.integers(0, plan.data * plan.microbatch)
    if choose.pick((False, False, True)):
        job = replace(job, training=replace(job.training, global_batch=job.training.global_batch + more))
    if plan_problems(job, plan):  # shares that would leave a rank without any rows
        plan = replace(plan, data_shares=(1,) * plan.data)
    return job, plan


def _factorings(ranks: int) -> list[tuple[int, int, int]]:
    """All (data, tensor, pipeline) that fill so many ranks and that small models can have."""
    sizes = [size for size in range(1, ranks + 1) if ranks % size == 0]
    found = [
        (data, tensor, ranks // (data * tensor))
        for data in sizes
        for tensor in sizes
        if ranks % (data * tensor) == 0 and tensor <= _MOST_HEADS and ranks // (data * tensor) <= _MOST_LAYERS
    ]
    return found + [(2, 2, 2)] * _EXTRA_CUBES if ranks == 8 else found


def _model(choose: Choose, tensor: int, pipeline: int) -> ModelSpec:
    """Any family that the axes can split: as many heads as tensor ranks, as many layers as stages."""
    positions = choose.pick(("learned", "rope"))
    pairs = [(kv, readers) for kv in range(1, _MOST_HEADS + 1) for readers in range(1, _MOST_HEADS // kv + 1)]
    kv_heads, readers = choose.pick([(kv, readers) for kv, readers in pairs if kv * readers >= tensor])
    heads = kv_heads * readers
    return ModelSpec(
        layers=choose.integers(pipeline, max(pipeline, _LAYERS_ON_MANY) if tensor > 2 else _MOST_LAYERS),
        hidden=heads * choose.pick((2, 4) if positions == "rope" else (2, 4, 3, 1)),
        heads=heads,
        kv_heads=kv_heads,
        ffn=choose.integers(max(3, tensor), 40),
        vocab=choose.integers(11, 80),
        max_positions=_LONGEST,
        positions=positions,
        norm=choose.pick(("layer", "rms")),
        activation=choose.pick(("gelu", "relu", "swiglu")),
        bias=choose.pick((False, True)),
        dropout=choose.pick((0.0, 0.0, 0.1, 0.5)),
        tie_embeddings=choose.pick((False, True)),
    )


def _training(choose: Choose, batch: int, length: int) -> TrainingSpec:
    return TrainingSpec(
        global_batch=batch,
        sequence_length=length,
        precision=choose.pick(("fp32", "bf16", "fp64")),
        optimizer=choose.pick(("adamw", "sgd")),
        learning_rate=choose.pick((1e-3, 1e-5, 1e-4, 1e-2, 0.1)),
        warmup_steps=choose.pick((0, 1, 20)),
        decay=choose.pick(("none", "cosine", "linear")),
        weight_decay=choose.pick((0.0, 0.1, 1.0)),
        betas=choose.pick(((0.9, 0.95), (0.9, 0.999), (0.5, 0.5), (0.0, 0.9))),
        clip_norm=choose.pick((0.0, 1.0, 0.01, 100.0)),
        seed=choose.integers(0, 1000),
    )


def _stages(choose: Choose, layers: int, stages: int) -> tuple[int, ...]:
    """Layers of each stage, at least one, in any way."""
    found: list[int] = []
    for behind in range(stages - 1, 0, -1):
        found.append(choose.integers(1, layers - sum(found) - behind))
    return (*found, layers - sum(found))


def _tensor_shares(choose: Choose, tensor: int) -> tuple[float, ...]:
    if tensor == 1 or choose.pick((True, True, False)):
        return (1,) * tensor
    return tuple(choose.pick(_SHARES) for _ in range(tensor))


class _Numbered:
    """Choices that follow from a number."""

    def __init__(self, number: int) -> None:
        self._random = random.Random(number)

    def integers(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def pick(self, options: Sequence[T]) -> T:
        return self._random.choice(options)

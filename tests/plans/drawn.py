"""Small jobs drawn at random, legal or not, and every complete plan that such a job could have."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from hypothesis import strategies as st

from plait.layers.layer import Dim, Part
from plait.plans.plan import Plan
from plait.plans.rows import microbatches_of
from plait.sharding.boxes import local_size
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec

SMALL = st.integers(1, 4)
SHARES = st.lists(st.sampled_from([0.5, 1, 2, 3, 9]), min_size=1, max_size=4).map(tuple)


@st.composite
def models(draw) -> ModelSpec:
    heads, groups = draw(SMALL), draw(st.integers(1, 2))
    return ModelSpec(
        layers=draw(SMALL),
        hidden=draw(st.sampled_from([heads, 2 * heads, 6 * heads, heads + 1])),
        heads=heads,
        kv_heads=heads if groups == 1 else draw(SMALL),
        ffn=draw(SMALL),
        vocab=draw(st.integers(1, 9)),
        max_positions=4,
        positions=draw(st.sampled_from(["learned", "rope"])),
    )


@st.composite
def jobs(draw) -> Job:
    constraints = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "data": SMALL,
                "tensor": SMALL,
                "pipeline": SMALL,
                "microbatch": SMALL,
                "stages": st.lists(st.integers(1, 3), min_size=1, max_size=4).map(tuple),
                "tensor_shares": SHARES,
                "data_shares": st.lists(st.sampled_from([1, 1, 1, 2]), min_size=1, max_size=4).map(tuple),
                "sequence_parallel": st.booleans(),
                "schedule": st.sampled_from(["gpipe", "1f1b", "1f1b", "zb-h1", "zb-v", "interleaved"]),
                "virtual_stages": st.sampled_from([1, 1, 2, 3]),
                "zero": st.sampled_from([0, 0, 1, 2, 3]),
                "gradient_precision": st.sampled_from(["fp32", "fp64"]),
            },
        )
    )
    training = TrainingSpec(
        global_batch=draw(st.integers(1, 12)),
        sequence_length=draw(SMALL),
        precision=draw(st.sampled_from(["fp32", "bf16", "fp64"])),
    )
    ranks = ClusterSpec(ranks=draw(st.integers(1, 12)))
    return Job(model=draw(models()), training=training, cluster=ranks, constraints=constraints)


PLACINGS = [("1f1b", 1), ("gpipe", 1), ("zb-h1", 1), ("zb-v", 2), ("interleaved", 2), ("interleaved", 3)]


def every_plan(job: Job) -> Iterator[Plan]:
    """Every plan that keeps the job's constraints, in the keys that are drawn here; most are illegal."""
    fixed = dict(job.constraints)
    sizes = range(1, 13)
    for data, tensor, pipeline in product(sizes, sizes, sizes):
        degrees = {"data": data, "tensor": tensor, "pipeline": pipeline}
        if data * tensor * pipeline != job.cluster.ranks or not degrees.items() <= {**degrees, **fixed}.items():
            continue
        sizes_and_stages = product(range(1, job.training.global_batch + 1), compositions(job.model.layers))
        for (microbatch, stages), (schedule, each) in product(sizes_and_stages, PLACINGS):
            open_keys = {"microbatch": microbatch, "stages": stages, "schedule": schedule, "virtual_stages": each}
            if open_keys.items() <= {**open_keys, **fixed}.items():
                equal = {"tensor_shares": (1,) * tensor, "data_shares": (1,) * data}
                yield Plan(**{**equal, **open_keys, **degrees, **fixed})


def compositions(total: int) -> Iterator[tuple[int, ...]]:
    """All ways of writing a number as a sum of numbers from 1, in order."""
    yield (total,)
    for first in range(1, total):
        for rest in compositions(total - first):
            yield (first, *rest)


def can_run(job: Job, plan: Plan) -> bool:
    """Whether the plan works out, by looking at every rank rather than by rules."""
    model, training = job.model, job.training
    if model.hidden % model.heads or model.heads % model.kv_heads:
        return False
    if model.positions == "rope" and model.head_dim % 2:
        return False
    each = {"zb-v": plan.virtual_stages == 2, "interleaved": plan.virtual_stages > 1}
    if not each.get(plan.schedule, plan.virtual_stages == 1):
        return False
    if plan.gradient_precision == "fp64" and training.precision != "fp64":
        return False
    if plan.ranks != job.cluster.ranks:
        return False
    if (
        len(plan.stages) != plan.pipeline * plan.virtual_stages
        or sum(plan.stages) != model.layers
        or min(plan.stages) < 1
    ):
        return False
    if len(plan.data_shares) != plan.data or len(plan.tensor_shares) != plan.tensor:
        return False
    batches = [microbatches_of(plan, training.global_batch, rank) for rank in range(plan.data)]
    if not all(batches) or max(sizes[0] for sizes in batches) < plan.microbatch:
        return False
    if plan.sequence_parallel and training.sequence_length < plan.tensor:
        return False
    split = {"heads": model.heads, "ffn": model.ffn, "vocab": model.vocab}
    dims = [Dim(parts=(Part(index=index, units=units),)) for index, units in split.items()]
    return all(local_size(dim, plan.tensor_shares, rank) for dim in dims for rank in range(plan.tensor))

"""A job of any size made small enough to be proven here, with everything kept that a mistake could hide in.

    degrees     those of the plan if the ranks suffice; else smaller ones, every axis above 1 if that can be
    stages      uneven ones stay uneven, in the same order
    heads       as many tensor ranks for a head, a key/value head, a group of readers as before: 40 heads on 3 ranks
                become 4 (2/1/1), more ranks than key/value heads stay more
    vocabulary, ffn, sequence    the same remainder on the tensor ranks; an odd number stays odd
    batch       more, as many or fewer microbatches than stages, as before; dealt out evenly or not, as before

A job that is small already is kept whole. Pure: numbers in, numbers out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from math import ceil, prod
from typing import Any

from plait.layers.dims import projected
from plait.layers.gpt import describe_gpt
from plait.plans.plan import Plan
from plait.plans.rows import rounds_of, row_counts
from plait.sharding.boxes import copies, shares
from plait.specs.compression import compression_of
from plait.specs.grids import is_grid
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.verification.lossy import at_once

__all__ = ["Subject", "changes", "narrow"]

_MOST_FLOPS = 5e8  # of one step: tenths of a second in float64 on one core
_MOST_WEIGHTS = 60_000  # each of them travels home several times, in two precisions
_MOST_LAYERS = 12  # each of them takes some milliseconds a microbatch, however thin it is
_WIDER = "fp64 and fp32, master weights apart"
_SMALL = {"vocab": 61, "ffn": 16, "sequence": 8, "head_dim": 3}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is run in the job's place."""

    model: ModelSpec
    training: TrainingSpec
    plan: Plan

    @property
    def affordable(self) -> bool:
        """Whether both sides can run it several times in seconds."""
        count = _weights(self.model)
        tokens = self.training.global_batch * self.training.sequence_length
        few = count <= _MOST_WEIGHTS and self.model.layers <= _MOST_LAYERS
        return few and 6 * count * tokens <= _MOST_FLOPS


def narrow(model: ModelSpec, training: TrainingSpec, plan: Plan, ranks: int) -> Subject:
    """The job with degrees for at most `ranks`, and small enough."""
    own, together = at_once(training, plan)
    subject = _on_fewer_ranks(Subject(model=model, training=own, plan=together), ranks)
    for step in (_fewer_sequences, _shorter, _fewer_tokens, _thinner, _fewer_layers):
        if not subject.affordable:
            subject = step(subject, plan)
    return _rebucketed(_as_compressible(subject, model), model)


def changes(before: Subject, after: Subject) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was kept, by key, and what was narrowed: `{"job": ..., "verified": ...}` by key.

    Every job is run in float64 and float32. bfloat16 gives way to them; its master weights stay apart from its weights.
    """
    kept: dict[str, Any] = {}
    narrowed: dict[str, Any] = {}
    for table in ("model", "training", "plan"):
        old, new = getattr(before, table), getattr(after, table)
        for field in fields(old):
            was, now = getattr(old, field.name), getattr(new, field.name)
            key = f"{table}.{field.name}"
            if was == now:
                kept[key] = now
            else:
                narrowed[key] = {"job": was, "verified": now}
    if kept["training.precision"] == "bf16":
        narrowed["training.precision"] = {"job": kept.pop("training.precision"), "verified": _WIDER}
    return kept, narrowed


# ---- degrees ------------------------------------------------------------------------------------------------------


def _on_fewer_ranks(subject: Subject, ranks: int) -> Subject:
    plan = subject.plan
    if plan.ranks <= ranks:
        return subject
    data, tensor, pipeline = _degrees((plan.data, plan.tensor, plan.pipeline), ranks, whole=is_grid(plan.schedule))
    if is_grid(plan.schedule) and pipeline < plan.pipeline:  # a drawing is of its ranks alone
        plan = replace(plan, schedule="1f1b", virtual_stages=1)
    stages = _picked(plan.stages, pipeline if len(plan.stages) == plan.pipeline else pipeline * plan.virtual_stages)
    fewer = replace(
        plan,
        data=data,
        tensor=tensor,
        pipeline=pipeline,
        stages=stages,
        data_shares=_picked(plan.data_shares, data),
        servers=min(plan.servers, data - 1),
        tensor_shares=_picked(plan.tensor_shares, tensor),
        sequence_parallel=plan.sequence_parallel and tensor > 1,
    )
    count = _as_many(rounds_of(plan, subject.training.global_batch), plan.pipeline, pipeline)
    model = replace(subject.model, layers=sum(stages))
    return _with_rounds(Subject(model=model, training=subject.training, plan=fewer), subject, count)


def _degrees(wanted: tuple[int, ...], ranks: int, *, whole: bool = False) -> tuple[int, ...]:
    """Degrees up to those wanted: first as many axes above 1 as can be, then as many unchanged, then the most ranks.
    `whole`: the last of them unchanged before all that, if it can be."""
    fitting = [d for d in product(*(range(1, min(degree, ranks) + 1) for degree in wanted)) if prod(d) <= ranks]

    def merit(degrees: tuple[int, ...]) -> tuple[bool, int, int, int]:
        pairs = list(zip(degrees, wanted, strict=True))
        kept = whole and degrees[-1] == wanted[-1]
        return kept, sum(new > 1 for new in degrees), sum(new == old for new, old in pairs), prod(degrees)

    return max(fitting, key=merit)


def _as_many(count: int, stages: int, fewer_stages: int) -> int:
    """Microbatches for fewer stages: more, as many or fewer than those, as before."""
    if count > stages:
        return count
    return fewer_stages if count == stages else min(count, max(1, fewer_stages - 1))


def _picked(values: Sequence[Any], count: int) -> tuple[Any, ...]:
    """`count` of the values in their order: the first and the last, the largest and the smallest before all others."""
    places = range(len(values))
    ends = (values.index(max(values)), values.index(min(values)), 0, len(values) - 1)
    return tuple(values[place] for place in sorted(list(dict.fromkeys((*ends, *places)))[:count]))


# ---- sizes --------------------------------------------------------------------------------------------------------


def _fewer_sequences(subject: Subject, _: Plan) -> Subject:
    plan, stages = subject.plan, subject.plan.pipeline
    count = rounds_of(plan, subject.training.global_batch)
    fewer = min(count, stages + 2) if count > stages and not is_grid(plan.schedule) else count
    smaller = replace(subject, plan=replace(plan, microbatch=min(plan.microbatch, 2)))
    return _with_rounds(smaller, subject, fewer)


def _with_rounds(subject: Subject, whole: Subject, rounds: int) -> Subject:
    """A batch of which the busiest replica has so many microbatches (more, where another would have nothing), dealt out
    as evenly, or unevenly, as the whole job's."""
    plan = subject.plan
    wanted = _dealing(whole.plan, whole.training.global_batch)
    working = plan.data_shares[: plan.workers]
    enough = ceil(sum(working) / min(working))  # for the smallest share to be a sequence
    fitting = _batches(plan, rounds) or _batches(plan, rounds_of(plan, enough))

    def unlike(batch: int) -> list[bool]:
        return [was != now for was, now in zip(wanted, _dealing(plan, batch), strict=True)]

    batch = min(fitting, key=unlike, default=whole.training.global_batch)
    return replace(subject, training=replace(subject.training, global_batch=batch))


def _batches(plan: Plan, rounds: int) -> list[int]:
    """The batches of which the busiest replica has so many microbatches, and every one something."""
    working = plan.data_shares[: plan.workers]
    all_by_most = sum(working) / max(working)
    least, most = ((rounds - 1) * plan.microbatch * all_by_most, rounds * plan.microbatch * all_by_most)
    near = range(max(plan.data, int(least) - plan.data), ceil(most) + plan.data + 1)
    return [
        batch for batch in near if min(row_counts(plan, batch)[: len(working)]) > 0 and rounds_of(plan, batch) == rounds
    ]


def _dealing(plan: Plan, batch: int) -> tuple[bool, ...]:
    """What the dealing out of a batch can go wrong about, the worst first."""
    counts = set(row_counts(plan, batch)[: plan.workers])
    rest = {count % plan.microbatch for count in counts}
    rounds = {-(-count // plan.microbatch) for count in counts}
    return len(rounds) > 1, len(rest) > 1, rest != {0}, len(counts) > 1


def _shorter(subject: Subject, whole: Plan) -> Subject:
    """`max_positions` stays as far beyond the sequence as it was, up to one."""
    length = subject.training.sequence_length
    least = max(_SMALL["sequence"], subject.plan.tensor)
    shorter = _like(length, least, whole.tensor, (1,) * subject.plan.tensor)
    spare = min(1, subject.model.max_positions - length)
    model = replace(subject.model, max_positions=shorter + spare)
    return replace(subject, model=model, training=replace(subject.training, sequence_length=shorter))


def _fewer_tokens(subject: Subject, whole: Plan) -> Subject:
    vocab = _like(subject.model.vocab, _SMALL["vocab"], whole.tensor, subject.plan.tensor_shares)
    return replace(subject, model=replace(subject.model, vocab=vocab))


def _thinner(subject: Subject, whole: Plan) -> Subject:
    model = subject.model
    heads, kv_heads = _heads(model, whole, subject.plan)
    head_dim = min(model.head_dim, _SMALL["head_dim"] + (model.head_dim - _SMALL["head_dim"]) % 2)
    ffn = _like(model.ffn, _SMALL["ffn"], whole.tensor, subject.plan.tensor_shares)
    thinner = replace(model, heads=heads, kv_heads=kv_heads, hidden=heads * head_dim, ffn=ffn)
    return replace(subject, model=thinner)


def _fewer_layers(subject: Subject, _: Plan) -> Subject:
    """Two layers a stage, or one where there was one; more where stages have more than others."""
    stages = subject.plan.stages
    sizes = sorted(set(stages))
    fewer = tuple(min(size, sizes.index(size) + min(2, sizes[0])) for size in stages)
    return replace(subject, plan=replace(subject.plan, stages=fewer), model=replace(subject.model, layers=sum(fewer)))


def _like(number: int, least: int, degree: int, weights: Sequence[float]) -> int:
    """The smallest number from `least` that is as divisible by the ranks that share it as `number` is, and as odd;
    where fewer ranks can't have both, as divisible."""
    ranks = len(weights)
    least = max(least, ceil(sum(weights) / min(weights)))  # something for everyone

    def unlike(smaller: int) -> tuple[bool, bool]:
        if degree == ranks:
            return smaller % degree != number % degree, smaller % 2 != number % 2
        return (smaller % ranks == 0) != (number % degree == 0), smaller % 2 != number % 2

    return min(range(least, min(number + 1, least + 2 * ranks)), key=unlike, default=number)


def _heads(model: ModelSpec, whole: Plan, plan: Plan) -> tuple[int, int]:
    """The fewest (heads, key/value heads) that the tensor ranks share in the same manner."""
    wanted = _manner(model, whole)

    def merit(candidate: tuple[int, int]) -> tuple[Sequence[bool], int]:
        heads, kv_heads = candidate
        manner = _manner(replace(model, heads=heads, kv_heads=kv_heads, hidden=2 * heads), plan)
        return [was != now for was, now in zip(wanted, manner, strict=True)], heads

    return min(_smaller_heads(model), key=merit)


def _smaller_heads(model: ModelSpec) -> Iterator[tuple[int, int]]:
    for kv_heads in range(1, model.kv_heads + 1):
        for readers in range(1, model.queries_per_kv_head + 1):
            yield kv_heads * readers, kv_heads


def _manner(model: ModelSpec, plan: Plan) -> tuple[bool, ...]:
    """What the sharing of heads can go wrong about, the worst first."""
    counts = {stop - start for start, stop in shares(model.heads, plan.tensor_shares)}
    keys = projected(model, joint=False)[1]
    return (
        0 in counts,
        model.heads == 1,
        model.queries_per_kv_head == 1,
        model.heads % plan.tensor == 0,
        bool(copies(keys, plan.tensor_shares)),
        model.kv_heads < plan.tensor,
        model.kv_heads % plan.tensor == 0,
        model.kv_heads == 1,
    )


def _as_compressible(subject: Subject, model: ModelSpec) -> Subject:
    """A rank as low beside the narrower matrices as it was, so that they are still compressed."""
    form, hidden = compression_of(subject.plan.compression), subject.model.hidden
    if form.kind != "powersgd" or hidden == model.hidden:
        return subject
    lower = replace(form, rank=max(1, form.rank * hidden // model.hidden))
    return replace(subject, plan=replace(subject.plan, compression=str(lower)))


def _rebucketed(subject: Subject, model: ModelSpec) -> Subject:
    """Buckets shrink with the model, so that there are several where there were several."""
    before, after = (_rank_bytes(spec, subject.plan) for spec in (model, subject.model))
    size = subject.plan.bucket_bytes
    if before <= size or after >= 3 * size:
        return subject
    return replace(subject, plan=replace(subject.plan, bucket_bytes=max(1, after // 3)))


def _weights(model: ModelSpec) -> int:
    """Elements of all weights. Blocks are alike: one is counted."""
    one, two = (
        sum(
            {
                w.name: prod(w.shape) for layer in describe_gpt(replace(model, layers=count)) for w in layer.weights
            }.values()
        )
        for count in (1, 2)
    )
    return one + (model.layers - 1) * (two - one)


def _rank_bytes(model: ModelSpec, plan: Plan) -> int:
    """Roughly, the bytes of one rank's gradients in float32."""
    return 4 * _weights(model) // (plan.tensor * plan.pipeline)

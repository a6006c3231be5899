"""Whatever the job's size, what is run in its place is small, legal, and uneven where the job is."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import prod

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from plait.layers.dims import projected
from plait.plans.legality import plan_problems
from plait.plans.plan import Plan
from plait.plans.rows import microbatches_of, rounds_of
from plait.sharding.boxes import copies, shares
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.verification.narrow import Subject, changes, narrow

GPT3 = ModelSpec(layers=96, hidden=12288, heads=96, kv_heads=96, ffn=49152, vocab=50257, max_positions=2048)
LLAMA = replace(
    GPT3, layers=32, hidden=4096, heads=32, kv_heads=8, ffn=14336, vocab=128256, positions="rope", norm="rms",
    activation="swiglu", bias=False, tie_embeddings=False,
)  # fmt: skip
TRAINING = TrainingSpec(global_batch=1536, sequence_length=2048)
THOUSAND = Plan(
    data=16, tensor=8, pipeline=8, stages=(12,) * 8, data_shares=(1,) * 16, tensor_shares=(1,) * 8,
    sequence_parallel=True, microbatch=4,
)  # fmt: skip


def even(layers: int, stages: int) -> tuple[int, ...]:
    return tuple(layers // stages + (stage < layers % stages) for stage in range(stages))


@st.composite
def subjects(draw, most: int = 729) -> Subject:
    """Any legal job of up to so many ranks."""
    degrees = [found for found in product(range(1, 10), repeat=3) if prod(found) <= most]
    data, tensor, pipeline = draw(st.sampled_from(degrees))
    microbatch, count = draw(st.integers(1, 8)), draw(st.integers(1, 20))
    layers, readers = draw(st.integers(pipeline, 100)), draw(st.integers(1, 8))
    kv_heads = draw(st.integers(-(-3 * tensor // readers), 40))  # a head for every rank, however unequal
    heads = kv_heads * readers
    weights = (1,) * tensor if draw(st.booleans()) else tuple(draw(st.integers(1, 3)) for _ in range(tensor))
    length = draw(st.integers(tensor, 4096))
    model = ModelSpec(
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        hidden=heads * draw(st.integers(1, 128)),
        ffn=draw(st.integers(3 * tensor, 20000)),
        vocab=draw(st.integers(256, 60000)),
        max_positions=length + draw(st.integers(0, 50)),
        positions="learned",
        tie_embeddings=draw(st.booleans()),
    )
    assume(all(stop > start for units in (heads, model.ffn, model.vocab) for start, stop in shares(units, weights)))
    plan = Plan(
        data=data,
        tensor=tensor,
        pipeline=pipeline,
        stages=even(layers, pipeline),
        microbatch=microbatch,
        data_shares=(1,) * data,
        tensor_shares=weights,
        sequence_parallel=tensor > 1 and draw(st.booleans()),
        gradient_precision="fp32",
    )
    training = TrainingSpec(global_batch=data * microbatch * count, sequence_length=length)
    return Subject(model=model, training=training, plan=plan)


def narrowed(subject: Subject, ranks: int = 8) -> Subject:
    return narrow(subject.model, subject.training, subject.plan, ranks)


def legal(subject: Subject) -> bool:
    cluster = ClusterSpec(ranks=subject.plan.ranks)
    job = Job(model=subject.model, training=subject.training, cluster=cluster)
    return plan_problems(job, subject.plan) == []


@settings(max_examples=25)
@given(subjects(), st.integers(1, 8))
def test_what_is_run_is_small_and_legal(subject, ranks):
    small = narrowed(subject, ranks)
    assert small.plan.ranks <= ranks
    assert legal(small)
    assert small.training.global_batch * small.training.sequence_length <= 8 * 2 * 18 * 4096
    assert small.affordable or small.model.layers <= small.plan.pipeline * (1 + len(set(small.plan.stages)))


@settings(max_examples=25)
@given(subjects(most=8))
def test_what_fits_keeps_its_degrees(subject):
    small = narrowed(subject)
    assert small.plan.mesh == subject.plan.mesh
    assert (small.plan.tensor_shares, small.plan.sequence_parallel) == (
        subject.plan.tensor_shares,
        subject.plan.sequence_parallel,
    )


@settings(max_examples=25)
@given(subjects(most=8))
def test_uneven_stays_uneven(subject):
    small, tensor = narrowed(subject), subject.plan.tensor
    before, after = subject.model, small.model
    for key in ("heads", "ffn", "vocab"):
        assert (getattr(after, key) % tensor == 0) == (getattr(before, key) % tensor == 0), key
    assert (after.vocab - before.vocab) % 2 == 0
    assert (after.kv_heads == after.heads) == (before.kv_heads == before.heads)
    keys = [projected(model, joint=False)[1] for model in (before, after)]
    held_twice = [bool(copies(dim, subject.plan.tensor_shares)) for dim in keys]
    assert held_twice[0] == held_twice[1]
    order = [sorted(range(len(stages)), key=stages.__getitem__) for stages in (subject.plan.stages, small.plan.stages)]
    assert order[0] == order[1]
    assert len(set(small.plan.stages)) == len(set(subject.plan.stages))


@settings(max_examples=25)
@given(subjects(most=8))
def test_microbatches_stay_on_their_side_of_the_stages(subject):
    small, stages = narrowed(subject), subject.plan.pipeline
    before, after = (rounds_of(one.plan, one.training.global_batch) for one in (subject, small))
    assert ((before > stages) - (before < stages)) == ((after > stages) - (after < stages))


@pytest.mark.parametrize(
    ("shares", "batch", "microbatch"),
    [((2, 1), 3000, 4), ((1, 1, 1), 10**6 + 1, 8), ((1, 15), 512, 4), ((3, 1, 2), 61, 2)],
)
def test_an_uneven_batch_stays_uneven(shares, batch, microbatch):
    plan = Plan(data=len(shares), data_shares=shares, stages=(12,), microbatch=microbatch)
    training = TrainingSpec(global_batch=batch, sequence_length=12)
    small = narrowed(Subject(model=replace(LLAMA, layers=12), training=training, plan=plan))
    dealt = [
        [microbatches_of(one, size, rank) for rank in range(one.data)]
        for one, size in ((plan, batch), (small.plan, small.training.global_batch))
    ]
    assert small.training.global_batch <= 40
    assert all(dealt[1])
    assert len(set(map(len, dealt[0]))) == 1 or len(set(map(len, dealt[1]))) > 1  # numbers of microbatches, too
    assert len(set(map(sum, dealt[1]))) > 1  # unequal rows, as before


def test_a_small_job_is_kept_whole():
    model = ModelSpec(layers=3, hidden=24, heads=6, kv_heads=2, ffn=50, vocab=67, max_positions=12)
    subject = Subject(model=model, training=TrainingSpec(global_batch=8, sequence_length=12), plan=Plan(stages=(3,)))
    assert narrowed(subject) == subject
    assert changes(subject, narrowed(subject))[1] == {}


@pytest.mark.parametrize("model", [GPT3, replace(LLAMA, layers=96)])
def test_a_thousand_ranks_become_eight_with_every_axis(model):
    subject = Subject(model=model, training=TRAINING, plan=THOUSAND)
    small = narrowed(subject)
    assert (small.plan.data, small.plan.tensor, small.plan.pipeline) == (2, 2, 2)
    assert small.plan.sequence_parallel
    assert small.affordable
    assert legal(small)
    kept, changed = changes(subject, small)
    assert changed["plan.data"] == {"job": 16, "verified": 2}
    assert changed["model.hidden"]["job"] == model.hidden
    assert kept["model.tie_embeddings"] == model.tie_embeddings
    assert not kept.keys() & changed.keys()


def test_forty_heads_on_three_ranks():
    model = replace(GPT3, heads=40, kv_heads=40, hidden=5120)
    plan = replace(THOUSAND, data=2, tensor=3, pipeline=1, stages=(96,), data_shares=(1, 1), tensor_shares=(1, 1, 1))
    small = narrowed(Subject(model=model, training=TRAINING, plan=plan))
    assert [stop - start for start, stop in shares(small.model.heads, (1, 1, 1))] == [2, 1, 1]


def test_more_ranks_than_key_value_heads_stay_more():
    plan = replace(THOUSAND, data=1, tensor=4, pipeline=1, stages=(32,), data_shares=(1,), tensor_shares=(1,) * 4)
    small = narrowed(Subject(model=replace(LLAMA, kv_heads=2), training=TRAINING, plan=plan))
    assert small.model.kv_heads == 2
    assert small.model.heads >= 4


def test_fifty_layers_on_four_stages():
    plan = Plan(pipeline=4, stages=(13, 12, 12, 13), microbatch=2)
    small = narrowed(Subject(model=replace(GPT3, layers=50), training=TRAINING, plan=plan))
    assert small.plan.stages == (3, 2, 2, 3)
    assert small.model.layers == 10


def test_several_buckets_stay_several():
    plan = Plan(data=2, data_shares=(1, 1), stages=(96,), microbatch=2)
    small = narrowed(Subject(model=GPT3, training=TRAINING, plan=plan))
    assert 1 <= small.plan.bucket_bytes < plan.bucket_bytes
    one = replace(plan, bucket_bytes=2**50)
    assert narrowed(Subject(model=GPT3, training=TRAINING, plan=one)).plan.bucket_bytes == 2**50


def test_with_two_ranks_the_axis_is_chosen_and_said():
    subject = Subject(model=GPT3, training=TRAINING, plan=THOUSAND)
    small = narrowed(subject, ranks=2)
    assert small.plan.ranks == 2
    assert sum(small.plan.mesh.size(axis) > 1 for axis in ("data", "tensor", "pipeline")) == 1
    assert {"plan.data", "plan.tensor", "plan.pipeline"} <= changes(subject, small)[1].keys()

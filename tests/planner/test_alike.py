"""Ranks that are taken for one another hold as much, do as much and say as much."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from plait.layers.gpt import describe_gpt
from plait.planner.alike import keepers_like, tensor_ranks_alike
from plait.planner.communication_volume import traffic_of_step
from plait.planner.flops import flops_of_step
from plait.planner.memory import memory_of
from plait.planner.prices import JobPrices
from plait.planner.simulator import predict
from plait.plans.holdings import held_weights
from plait.plans.keeping import kept_weights, longest_parts
from plait.plans.plan import Plan
from plait.specs.training import TrainingSpec
from tests.planner.machines import machine
from tests.planner.test_search import MODEL

ODD = replace(MODEL, layers=5, hidden=44, heads=11, kv_heads=11, ffn=37, vocab=53, tie_embeddings=True)
GROUPED = replace(MODEL, layers=5, heads=6, kv_heads=2, hidden=48)
DATA = st.integers(1, 7)


@st.composite
def plans(draw):
    data, tensor, pipeline = draw(DATA), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    stages = {1: (5,), 2: (2, 3), 3: (1, 3, 1), 4: (1, 1, 1, 2)}[pipeline]
    return Plan(
        data=data, tensor=tensor, pipeline=pipeline, stages=stages, tensor_shares=(1,) * tensor,
        data_shares=(1,) * data, zero=draw(st.integers(0, 3)), sequence_parallel=draw(st.booleans()),
        microbatch=draw(st.integers(1, 3)), schedule=draw(st.sampled_from(["gpipe", "1f1b"])),
        bucket_bytes=draw(st.sampled_from([2**12, 2**24])),
    )  # fmt: skip


@settings(max_examples=25)
@given(st.sampled_from([ODD, GROUPED]), plans(), st.integers(7, 12))
def test_a_prediction_is_that_of_every_rank_by_itself(model, plan, batch):
    training = TrainingSpec(global_batch=batch, sequence_length=7)
    prices = JobPrices(model, training, machine())
    found = predict(plan, prices)
    ranks = range(plan.ranks)
    background = prices.machine.in_background(plan)
    memory = [memory_of(model, training, plan, rank, in_background=background) for rank in ranks]
    assert found.memory_bytes == tuple(replace(one, apart=True).total for one in memory)
    assert found.weight_bytes == tuple(one.weights for one in memory)
    assert found.flops == tuple(flops_of_step(model, training, plan, rank).total for rank in ranks)
    assert found.collectives == tuple(traffic_of_step(model, training, plan, rank) for rank in ranks)


@given(st.sampled_from([ODD, GROUPED]), plans())
def test_keepers_that_are_alike_keep_as_long_pieces(model, plan):
    for tensor_rank in range(plan.tensor):
        held = held_weights(describe_gpt(model), plan, tensor_rank)
        kept = [tuple(one.shape for one in kept_weights(held, plan, rank)) for rank in range(plan.data)]
        assert [kept[like] for like in keepers_like(held, plan)] == kept
        assert sum(longest_parts(held, plan).values()) == max(
            sum(one.elements for one in kept_weights(held, plan, rank)) for rank in range(plan.data)
        )


def test_few_ranks_stand_for_many():
    plan = Plan(data=64, data_shares=(1,) * 64, stages=(5,), zero=3)
    held = held_weights(describe_gpt(ODD), plan, 0)
    assert len(set(keepers_like(held, plan))) < 8
    eight = Plan(tensor=8, tensor_shares=(1,) * 8, stages=(4,))
    assert (
        len(set(tensor_ranks_alike(replace(MODEL, heads=8, kv_heads=8), TrainingSpec(sequence_length=32), eight))) == 2
    )

"""The parts of a step: stages balanced by cost, sums hidden behind backward, ranks that share cores."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.planner.memory import memory_of
from plait.planner.prices import HOST_RATE, JobPrices
from plait.planner.step_cost import Phase
from plait.plans.plan import Plan
from plait.specs.links import Overlap
from tests.planner.machines import machine
from tests.planner.shapes import GPT2, LLAMA, TRAINING

ONE = Plan(stages=(2,))
DP2 = Plan(data=2, stages=(2,), data_shares=(1, 1))
TP2 = Plan(tensor=2, stages=(2,), tensor_shares=(1, 1))


THREE_BUCKETS = replace(DP2, bucket_bytes=4 * 872)
QUICK = {"flops": 1e15, "bandwidth": 1e15, "latency": 1e-3, "link": 1e18}  # latency alone


def cost(plan, model=GPT2, training=TRAINING, **changes):
    return JobPrices(model, training, machine(**changes)).step(plan)


def test_the_head_is_counted_in_the_balance():
    large = replace(LLAMA, layers=7, vocab=400)  # the head: 8 · 400, a block about 480 weights of products
    prices = JobPrices(large, TRAINING, machine())
    assert prices.balanced(Plan(pipeline=2, stages=(4, 3))) == (5, 2)
    small = JobPrices(replace(large, vocab=2), TRAINING, machine())
    assert small.balanced(Plan(pipeline=2, stages=(4, 3))) == (4, 3)


def test_one_rank_has_no_communication():
    found = cost(ONE)
    assert found.stages[0].data == found.send == found.exchange == found.tensor_sums == found.pipeline_sums == 0.0
    assert found.stages[0].forward.tensor == found.stages[0].backward.tensor == 0.0


def test_tensor_collectives_stand_inside_the_phases():
    # without bandwidth to speak of: latency alone; 5 leaves forward and 2 of the loss, 5 enters backward
    found = cost(TP2, latency=1e-3, link=1e18)
    assert found.stages[0].forward.tensor == pytest.approx(7e-3)
    assert found.stages[0].backward.tensor == pytest.approx(5e-3)
    assert found.tensor_sums == pytest.approx(1e-3)  # the norm's
    assert cost(TP2, training=replace(TRAINING, clip_norm=0.0), latency=1e-3).tensor_sums == 0.0


def test_a_long_backward_hides_the_first_buckets():
    # three buckets (see test_communication_volume): the first is full before block 0 begins, the second when it ends,
    # the third right after that, when the embedding has been passed; and the loss is told
    slow = cost(THREE_BUCKETS, flops=1e6, latency=1e-3, link=1e18)
    assert slow.stages[0].data == pytest.approx(3e-3, rel=1e-3)
    fast = cost(THREE_BUCKETS, **QUICK)
    assert fast.stages[0].data == pytest.approx(4e-3)
    one_bucket = cost(DP2, flops=1e6, latency=1e-3, link=1e18)
    assert one_bucket.stages[0].data == pytest.approx(2e-3)


def test_where_no_core_is_left_what_is_hidden_slows_compute_down():
    slow = {"flops": 1e6, "latency": 1e-3, "link": 1e18}
    half = (Overlap(backend="gloo", ranks=2, exposed=0.5),)
    machines = (machine(**slow, cores=3), machine(**slow, cores=2), replace(machine(**slow, cores=2), overlap=half))
    for measured, share in zip(machines, (0.0, 1.0, 0.5), strict=True):
        (stage,) = JobPrices(GPT2, TRAINING, measured).step(THREE_BUCKETS).stages
        assert stage.data == pytest.approx(3e-3, rel=1e-3)
        assert stage.slowed == pytest.approx(share * 1e-3, rel=1e-3)  # the one bucket that is behind compute


def test_ranks_beyond_the_cores_share_them():
    prices = JobPrices(GPT2, TRAINING, machine(cores=2))
    assert [prices.crowd(ranks) for ranks in (1, 2, 4)] == [1.0, 1.0, 2.0]
    assert JobPrices(GPT2, TRAINING, machine()).crowd(64) == 1.0
    four = replace(DP2, data=4, data_shares=(1,) * 4)
    assert prices.step(four).optimizer == pytest.approx(2 * prices.step(DP2).optimizer)


def test_a_link_among_more_ranks_than_cores_is_not_slowed_down_twice():
    # between 4 ranks it was measured while they shared 2 cores: it costs that, and no more
    alone = cost(
        replace(DP2, data=4, data_shares=(1,) * 4), latency=1e-3, link=1e18, cores=2, flops=1e15, bandwidth=1e15
    )
    assert alone.stages[0].data == pytest.approx(2e-3)


def test_what_is_taken_away_is_gone_and_nothing_else():
    plan = Plan(data=2, tensor=2, pipeline=2, stages=(1, 1), tensor_shares=(1, 1), data_shares=(1, 1))
    found = cost(plan)
    quiet = found.without("tensor")
    assert all(stage.forward.tensor == stage.backward.tensor == 0.0 for stage in quiet.stages)
    assert quiet.tensor_sums == 0.0
    assert [stage.data for stage in quiet.stages] == [stage.data for stage in found.stages]
    assert all(stage.data == stage.slowed == 0.0 for stage in found.without("data").stages)
    free = found.without("pipeline")
    assert (free.send, free.exchange, free.pipeline_sums) == (0.0, 0.0, 0.0)
    assert free.stages == found.stages


def test_even_stages_keep_the_work():
    found = cost(Plan(pipeline=2, stages=(1, 1)), model=replace(GPT2, vocab=500))
    level = found.with_even_stages()
    assert level.stages[0].seconds == pytest.approx(level.stages[1].seconds)
    assert level.mean_stage == pytest.approx(found.mean_stage)
    half = found.with_compute(0.5)
    assert half.stages[0].forward == Phase(compute=found.stages[0].forward.compute / 2)


def test_offload_costs_three_copies_where_the_memory_is_the_host_s():
    offloaded, unclipped = replace(ONE, offload="optimizer"), replace(TRAINING, clip_norm=0.0)
    elements = memory_of(GPT2, unclipped, ONE, 0).gradients // 4
    before, after = (cost(plan, training=unclipped, cores=4).optimizer for plan in (ONE, offloaded))
    assert after - before == pytest.approx(3 * 2 * 4 * elements / 10e9)  # each is read and written


def test_offload_on_a_device_takes_what_its_host_takes():
    offloaded, unclipped = replace(ONE, offload="optimizer"), replace(TRAINING, clip_norm=0.0)
    for training in (unclipped, replace(unclipped, optimizer="sgd")):
        kept = memory_of(GPT2, training, offloaded, 0).host
        found = cost(offloaded, training=training)
        assert found.optimizer == pytest.approx(2 * kept / HOST_RATE)
        assert found.optimizer > cost(ONE, training=training).optimizer

"""A step's seconds: the formulas of the field where they hold, and terms that always add up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.planner.communication_volume import traffic_of_step
from plait.planner.flops import flops_of_step
from plait.planner.memory import memory_of
from plait.planner.prices import JobPrices
from plait.planner.simulator import play, played, predict
from plait.planner.step_cost import Phase, Round, StageCost, StepCost
from plait.plans.plan import Plan
from tests.planner.machines import machine
from tests.planner.shapes import GPT2, LLAMA, TRAINING

PRICES = JobPrices(GPT2, TRAINING, machine())
FREE = {"send": 0.0, "exchange": 0.0, "tensor_sums": 0.0, "pipeline_sums": 0.0, "optimizer": 0.0}


def even(stages, microbatches, forward=1.0, backward=2.0, **more):
    stage = StageCost(forward=Phase(compute=forward), backward=Phase(compute=backward))
    return StepCost(stages=(stage,) * stages, rounds=(Round(),) * microbatches, **(FREE | more))


def pipeline(stages, microbatches, schedule):
    prices = JobPrices(GPT2, replace(TRAINING, global_batch=microbatches), machine())
    return Plan(pipeline=stages, stages=(1,) * stages, schedule=schedule), prices


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@given(stages=st.integers(1, 6), microbatches=st.integers(1, 9))
def test_the_bubble_of_even_stages(schedule, stages, microbatches):
    step = play(*_with(even(stages, microbatches), *pipeline(stages, microbatches, schedule)))
    assert step.terms.compute == pytest.approx(3.0 * microbatches)
    assert step.terms.bubble == pytest.approx(3.0 * (stages - 1))  # (p - 1) / (m + p - 1) of the step
    assert step.seconds == pytest.approx(3.0 * (microbatches + stages - 1))


def _with(cost, plan, prices):
    return plan, cost, prices


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_shared_cores_fill_the_bubble(schedule):
    plan, prices = pipeline(4, 8, schedule)
    shared = JobPrices(GPT2, prices.training, machine(cores=1))
    step = play(plan, even(4, 8), shared)
    assert step.seconds == pytest.approx(4 * 8 * 3.0)  # one core does all of it, and is never idle


def test_parts_of_a_step_by_hand():
    stages = (
        StageCost(
            forward=Phase(compute=1.0, tensor=0.5), backward=Phase(compute=2.0, tensor=0.5), data=0.25, slowed=0.5
        ),
        StageCost(forward=Phase(compute=1.0), backward=Phase(compute=1.0), data=8.0, slowed=1.0),
    )
    cost = StepCost(
        stages=stages, send=0.125, exchange=0.125, tensor_sums=0.0625, pipeline_sums=0.5, optimizer=3.0,
        rounds=(Round(),),
    )  # fmt: skip
    plan, prices = pipeline(2, 1, "1f1b")
    step = play(plan, cost, prices)
    # F0 1.5, a send 0.125, then F 1, B 1 and a send on stage 1: its data sums end at 3.75 + 9, after stage 0's
    assert step.seconds == pytest.approx(3.75 + 9 + 0.0625 + 0.5 + 3.0)
    assert step.terms.compute == pytest.approx(3.0 + 0.5)  # stage 0 has the most work
    assert step.terms.exposed == pytest.approx({"data": 0.25, "tensor": 1.0 + 0.0625, "pipeline": 0.5})
    assert step.terms.bubble == pytest.approx(12.75 - 4.0 - 0.75)


PLANS = [
    Plan(stages=(2,)),
    Plan(data=2, stages=(2,), data_shares=(1, 1)),
    Plan(tensor=2, stages=(2,), tensor_shares=(1, 1), sequence_parallel=True),
    Plan(pipeline=2, stages=(1, 1)),
    Plan(data=2, tensor=2, pipeline=2, stages=(1, 1), tensor_shares=(1, 1), data_shares=(1, 1), schedule="gpipe"),
]


@pytest.mark.parametrize("plan", PLANS, ids=lambda p: f"dp{p.data} tp{p.tensor} pp{p.pipeline}")
@pytest.mark.parametrize("model", [GPT2, LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("cores", [None, 1, 2, 8])
def test_terms_add_up_to_the_step(plan, model, cores):
    found = predict(plan, JobPrices(model, TRAINING, machine(cores=cores, dispatch=1e-6)))
    terms = found.terms
    total = terms.compute + terms.bubble + terms.optimizer + sum(terms.exposed.values())
    assert total == pytest.approx(found.step_seconds)
    assert min(terms.compute, terms.bubble, terms.optimizer, *terms.exposed.values()) >= 0
    low, high = found.interval
    assert low < found.step_seconds < high
    for axis in ("data", "tensor", "pipeline"):
        assert (terms.exposed[axis] > 0) == (plan.mesh.size(axis) > 1)


@pytest.mark.parametrize(("busy", "longer"), [(1.0, 1.5), (2.0, 2.0), (6.0, 2.0)])
def test_a_profile_beside_other_programs_is_worth_as_much_as_they_left(busy, longer):
    quiet = machine(cores=2)
    assert quiet.host is not None

    def predicted(busy_cores):
        known = replace(quiet, host=replace(quiet.host, busy_cores=busy_cores))
        return predict(Plan(data=2, stages=(2,), data_shares=(1, 1)), JobPrices(GPT2, TRAINING, known))

    assert predicted(0.2) == predicted(0.0)
    disturbed = predicted(busy)
    low, high = disturbed.interval
    assert disturbed.step_seconds == predicted(0.0).step_seconds
    assert (disturbed.step_seconds / low, high / disturbed.step_seconds) == pytest.approx((longer, longer))


def test_a_device_of_each_rank_s_own_is_not_taken_by_programs_on_the_cores():
    apart = machine()
    busy = replace(apart, host=replace(apart.host, busy_cores=1.0))
    plan = Plan(data=2, stages=(2,), data_shares=(1, 1))
    assert predict(plan, JobPrices(GPT2, TRAINING, busy)) == predict(plan, JobPrices(GPT2, TRAINING, apart))


@pytest.mark.parametrize("plan", PLANS, ids=lambda p: f"dp{p.data} tp{p.tensor} pp{p.pipeline}")
def test_every_rank_is_told_of(plan):
    found = predict(plan, PRICES)
    assert found.ranks == plan.ranks
    for rank in range(plan.ranks):
        memory = memory_of(GPT2, TRAINING, plan, rank)
        assert found.memory_bytes[rank] == memory.total
        assert found.weight_bytes[rank] == memory.weights
        assert found.gradient_bytes[rank] == memory.gradients
        assert found.optimizer_bytes[rank] == memory.optimizer
        assert found.activation_bytes[rank] == memory.activations
        assert found.flops[rank] == flops_of_step(GPT2, TRAINING, plan, rank).total
        assert found.collectives[rank] == traffic_of_step(GPT2, TRAINING, plan, rank)


@pytest.mark.parametrize("plan", PLANS, ids=lambda p: f"dp{p.data} tp{p.tensor} pp{p.pipeline}")
def test_a_slower_machine_is_never_faster(plan):
    fast = {"flops": 1e9, "bandwidth": 1e9, "latency": 1e-6, "link": 1e9}
    slower = {"flops": 5e8, "bandwidth": 5e8, "latency": 1e-4, "link": 1e7}
    seconds = played(plan, JobPrices(GPT2, TRAINING, machine(**fast))).step.seconds
    for name, value in slower.items():
        other = JobPrices(GPT2, TRAINING, machine(**(fast | {name: value})))
        assert played(plan, other).step.seconds >= seconds, name


def test_every_axis_that_talks_pays_for_its_link():
    for plan in PLANS[1:]:
        near, far = (JobPrices(GPT2, TRAINING, machine(latency=latency)) for latency in (0.0, 1e-2))
        assert played(plan, far).step.seconds > played(plan, near).step.seconds
    alone = [played(PLANS[0], JobPrices(GPT2, TRAINING, machine(latency=latency))) for latency in (0.0, 1e-2)]
    assert alone[0].step == alone[1].step


def test_of_unequal_data_ranks_the_one_with_most_rows_is_played():
    """Three quarters of the batch on one rank: half as long again as with halves, and exact numbers for each rank."""
    training = replace(TRAINING, global_batch=8)
    prices = JobPrices(GPT2, training, machine())
    halves = Plan(data=2, data_shares=(1, 1), stages=(3,))
    found, even_one = (predict(replace(halves, data_shares=shares), prices) for shares in ((1, 3), (1, 1)))
    between = found.terms.exposed["data"] - even_one.terms.exposed["data"]
    assert found.step_seconds - between - even_one.step_seconds == pytest.approx(even_one.terms.compute / 2, rel=0.01)
    assert found.flops == (even_one.flops[0] // 2, even_one.flops[0] * 3 // 2)


def test_a_smaller_last_microbatch_takes_less():
    training = replace(TRAINING, global_batch=5)
    prices = JobPrices(GPT2, training, machine())
    plan = Plan(stages=(3,), microbatch=2)
    five = predict(plan, prices)
    four, six = (predict(plan, JobPrices(GPT2, replace(training, global_batch=n), machine())) for n in (4, 6))
    assert four.step_seconds < five.step_seconds < six.step_seconds
    assert five.flops[0] - four.flops[0] == six.flops[0] - five.flops[0]
    assert five.activation_bytes == four.activation_bytes  # 1F1B holds one at a time
    gathered = predict(replace(plan, microbatch=8), prices)  # one microbatch of 5
    assert gathered.activation_bytes == predict(replace(plan, microbatch=5), prices).activation_bytes

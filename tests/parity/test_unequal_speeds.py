"""One rank computes at half the speed: the split that the search makes of it is faster, and is the same model.

    rows     equal   rank 0  ▓▓▓▓▓▓······     rank 1  ▓▓▓▓▓▓▓▓▓▓▓▓     6 and 6 of 12
             dealt   rank 0  ▓▓▓▓▓▓▓▓         rank 1  ▓▓▓▓▓▓▓▓         8 and 4
    layers   4 and 2 of 6, where they are stages          heads   4 and 2 of 6, where they share every layer

Computing is a sleep for each sequence, layer and head, beside which the model's own is nothing: cores that others need
change no ratio.
"""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import torch.distributed as dist

from plait.planner.search import search
from plait.planner.work import work_of_ranks
from plait.sharding.boxes import shares
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.verification.verify import verify_plan
from tests.parallel.cases import case
from tests.parallel.measured import build, decays, learn
from tests.parity.harness import GPT2, TRAINING
from tests.planner.machines import machine

SPEEDS = (1.0, 0.5)
DEEP = replace(GPT2, layers=6)
FP32 = replace(TRAINING, precision="fp32")
NAP = 0.02  # seconds of a sequence at full speed
TRIES = 4


def planned(model=GPT2, axis="data", **fixed):
    """The search's plan for two ranks along an axis, of which the second is half as fast."""
    job = Job(model=model, training=FP32, cluster=ClusterSpec(ranks=2), constraints={axis: 2, **fixed})
    return search(job, replace(machine(flops=1e8, latency=1e-7, link=1e12), speeds=SPEEDS)).best


def fastest_steps(model, training, plans, nap=NAP):
    """Of each plan the fastest step of several, in turn: others' work only makes one longer."""
    from plait.training.optimizer import Optimizer

    asked = [case(str(number), model, plan, training) for number, plan in enumerate(plans)]
    built = [build(one) for one in asked]
    learners = [
        Optimizer(one.shards, one.gradients, decays(of), training) for one, of in zip(built, asked, strict=True)
    ]
    for one, plan in zip(built, plans, strict=True):
        tensor_rank = plan.mesh.coordinate(dist.get_rank(), "tensor")
        start, stop = shares(model.heads, plan.tensor_shares)[tensor_rank]
        each = nap / model.layers * (stop - start) / model.heads / SPEEDS[dist.get_rank()]
        for block in one.decoder.blocks.values():
            block.register_forward_pre_hook(lambda _, given, each=each: time.sleep(each * len(given[0])))
    found = [float("inf")] * len(plans)
    for turn in range(TRIES + 1):  # the first connects
        for number, (of, one, learner) in enumerate(zip(asked, built, learners, strict=True)):
            dist.barrier()
            began = time.perf_counter()
            learn(of, one, learner, turn)
            dist.barrier()
            found[number] = min(found[number], time.perf_counter() - began) if turn else found[number]
    return found


@pytest.mark.clock
def test_the_planned_split_beats_the_even_one(run_on_ranks):
    dealt, even = planned(), planned(data_shares=(1, 1))
    assert dealt.plan.data_shares == (8, 4)
    seconds, seconds_even = run_on_ranks(2, fastest_steps, GPT2, TRAINING, [dealt.plan, even.plan])[0]
    assert seconds <= 0.8 * seconds_even  # 8 / 12 of it, and what the model's own work adds to both
    assert seconds >= 8 * NAP
    assert dealt.prediction.step_seconds <= 0.8 * even.prediction.step_seconds


@pytest.mark.clock
@pytest.mark.parametrize(
    ("axis", "key", "even", "microbatch"), [("pipeline", "stages", (3, 3), 1), ("tensor", "tensor_shares", (1, 1), 6)]
)
def test_layers_and_heads_by_speed_beat_even_ones(run_on_ranks, parity, axis, key, even, microbatch):
    fixed = {"microbatch": microbatch, "schedule": "1f1b"}
    chosen, equal = planned(DEEP, axis, **fixed), planned(DEEP, axis, **fixed, **{key: even})
    assert getattr(chosen.plan, key) == (4, 2)
    seconds, seconds_even = run_on_ranks(2, fastest_steps, DEEP, TRAINING, [chosen.plan, equal.plan], 4 * NAP)[0]
    assert seconds <= 0.8 * seconds_even
    assert chosen.prediction.step_seconds <= 0.8 * equal.prediction.step_seconds
    parity.holds(DEEP, TRAINING, chosen.plan)
    found = verify_plan(Job(model=DEEP, training=FP32), chosen.plan, run=run_on_ranks, work_of=work_of_ranks)
    assert found.verdict in ("REASSOCIATION", "ZERO")
    assert found.departures == ()


def test_the_planned_split_is_the_same_model_as_one_rank(parity):
    parity.holds(GPT2, TRAINING, planned().plan)
    parity.holds(GPT2, TRAINING, planned(zero=3).plan)


def test_the_planned_split_verifies(run_on_ranks):
    found = verify_plan(Job(model=GPT2, training=FP32), planned().plan, run=run_on_ranks, work_of=work_of_ranks)
    assert found.verdict in ("REASSOCIATION", "ZERO")
    assert found.departures == ()

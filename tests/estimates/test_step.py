"""Seconds a step: what more of something must do, and the pipeline's formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from plait.estimates.collectives import Network
from plait.estimates.estimate import estimate
from plait.estimates.practice import Practice
from plait.estimates.step import times
from plait.layers.parameters import parameters
from plait.specs.machines import Machines
from tests.estimates.arranged import GPT, arranged, machines, task

PLANS = arranged(
    6, data=[32, 4, 4, 2, 8, 1], tensor=[1, 8, 2, 4, 1, 8], pipeline=[1, 1, 4, 4, 4, 4], microbatch=[1, 2, 1, 2, 4, 1],
    zero=[3, 1, 0, 2, 1, 0],
)  # fmt: skip


def faster(one: Machines, *, links: float = 1.0, peak: float = 1.0) -> Machines:
    device = replace(one.device, peaks={name: rate * peak for name, rate in one.device.peaks.items()})
    return replace(
        one, device=device, inside=replace(one.inside, peak=one.inside.peak * links),
        between=replace(one.between, peak=one.between.peak * links),
    )  # fmt: skip


@pytest.mark.parametrize("keys", [{"links": 2.0}, {"peak": 1.5}])
def test_better_machines_are_never_slower(keys: dict[str, float]) -> None:
    usual, better = times(task(), PLANS), times(task(machines=faster(machines(), **keys)), PLANS)
    assert np.all(better.step <= usual.step * (1 + 1e-12))
    assert np.any(better.step < usual.step * 0.999)


def test_a_column_is_priced_as_its_rows_are() -> None:
    together = estimate(task(), PLANS)
    for row in range(len(PLANS)):
        alone = estimate(task(), PLANS.rows(np.array([row])))
        assert alone.times.step[0] == pytest.approx(together.times.step[row], rel=1e-12)
        assert alone.memory.total[0] == pytest.approx(together.memory.total[row], rel=1e-12)


def test_1f1b_waits_for_the_other_stages_once() -> None:
    """(p - 1) / (m + p - 1) of a step is bubble where stages are alike (Narayanan et al. 2021)."""
    model = replace(GPT, vocab=128, layers=32)  # next to no head
    fused = Practice(fused_gradients=True)  # nothing but stages' work
    found = times(task(model, batch=8, practice=fused), arranged(pipeline=8, microbatch=1))
    working = found.compute[0] + found.tensor[0]
    assert found.bubble[0] / (working + found.bubble[0]) == pytest.approx(7 / 15, rel=0.02)


def test_interleaving_divides_the_bubble() -> None:
    model = replace(GPT, vocab=128, layers=32)
    plain = times(task(model, batch=16), arranged(pipeline=8))
    interleaved = times(task(model, batch=16), arranged(pipeline=8, schedule="interleaved", virtual_stages=4))
    assert interleaved.bubble[0] == pytest.approx(plain.bubble[0] / 4, rel=0.02)


def test_ranks_with_several_stages_can_send_behind_work() -> None:
    plans = arranged(2, pipeline=8, schedule=[0, 2], virtual_stages=[1, 3])
    waiting, sending = (times(task(batch=64, practice=Practice(overlap_sends=one)), plans) for one in (False, True))
    assert sending.pipeline[1] < 0.5 * waiting.pipeline[1]
    assert sending.pipeline[0] == waiting.pipeline[0]


def test_recompute_costs_a_forward() -> None:
    plain, again = times(task(), arranged(recompute="none")), times(task(), arranged(recompute="full"))
    assert 1.2 < again.compute[0] / plain.compute[0] < 1.4


def test_zero_2_sums_at_every_microbatch() -> None:
    """As the memory that it is promised to take demands: no rank keeps a whole gradient."""
    plain = Practice(overlap_data=False)
    once, often = (
        times(task(batch=64, practice=plain), arranged(2, data=8, microbatch=[8, 1], zero=level)) for level in (1, 2)
    )
    assert often.data[0] == pytest.approx(once.data[0])  # one microbatch
    network, weights = Network(machines=machines()), parameters(GPT).total
    scattered = network.reduce_scatter(np.array([4.0 * weights]), np.array([8]), np.array([1]))[0]
    assert often.data[1] - once.data[1] == pytest.approx(7 * scattered, rel=0.01)
    hidden = times(task(batch=64), arranged(data=8, microbatch=1, zero=2))
    assert hidden.data[0] < often.data[1]


def test_a_small_model_waits_for_the_processor() -> None:
    tiny = replace(GPT, hidden=256, heads=4, kv_heads=4, ffn=1024, vocab=1024)
    one, two = (times(task(tiny, batch=64), arranged(microbatch=size)) for size in (1, 2))
    assert two.step[0] < 0.7 * one.step[0]  # half as many launches


def test_what_is_far_beyond_the_memory_runs_out_and_what_is_far_below_does_not() -> None:
    found = estimate(task(), arranged(2, microbatch=[1, 256]))
    assert found.out_of_memory[0] < 0.05
    assert found.out_of_memory[1] > 0.95
    assert np.all(found.low < found.times.step)
    assert np.all(found.times.step < found.high)

"""Operations cost what was measured of them, and what bandwidth and products say of the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.errors import UnusableInput
from plait.layers.gpt import describe_gpt
from plait.layers.small_blocks import SMALL_BLOCKS, SMALL_TOKENS
from plait.planner.compute_cost import ComputeCost, Work
from plait.planner.operations import Attend, Move, Multiply, Views, operations_of
from plait.plans.plan import Plan
from plait.specs.measurements import Attention, Contention, Gemm, MemoryBound, Optimizer, SmallBlock
from tests.planner.machines import machine

PLAIN = machine(flops=1e9, bandwidth=1e9)


def cost(**changes: object) -> ComputeCost:
    return ComputeCost(replace(PLAIN, **changes), "fp32")


def test_a_product_by_its_rate():
    assert cost().multiply_seconds(Multiply(10, 20, 30, "forward")) == pytest.approx(2 * 6000 / 1e9)
    assert cost().multiply_seconds(Multiply(10, 20, 30, "forward", 4)) == pytest.approx(4 * 2 * 6000 / 1e9)
    assert cost().multiply_seconds(Multiply(10, 0, 30, "forward")) == 0.0


def test_each_layout_has_its_own_rate():
    slow = Gemm(m=64, n=64, k=64, dtype="fp32", layout="weight_gradient", flops_per_second=1e8)
    found = cost(gemm=(*PLAIN.gemm, slow))
    forward, weight, unmeasured = (
        found.multiply_seconds(Multiply(8, 8, 8, layout)) for layout in ("forward", "weight_gradient", "input_gradient")
    )
    assert weight == pytest.approx(10 * forward)
    assert unmeasured == forward


def test_no_product_is_faster_than_its_dispatch():
    found = ComputeCost(machine(dispatch=5e-6), "fp32")
    assert found.multiply_seconds(Multiply(1, 1, 1, "forward")) == 5e-6


def test_another_dtype_is_an_error_with_a_remedy():
    with pytest.raises(UnusableInput, match="bf16 were not measured here, only in fp32; run `plait profile`"):
        ComputeCost(PLAIN, "bf16")


def test_attention_by_its_own_rate_or_by_its_products():
    # 8 · 16² · 4 · 2 a product; forward has 2 of them, backward 5
    one = 2 * 8 * 16**2 * 4
    assert cost().attend_seconds(Attend(8, 16, 4, "forward")) == pytest.approx(2 * one / 1e9)
    assert cost().attend_seconds(Attend(8, 16, 4, "backward")) == pytest.approx(5 * one / 1e9)
    point = Attention(batch=1, heads=4, seq=16, head_dim=4, dtype="fp32", forward_seconds=1.0, backward_seconds=3.0)
    measured = cost(attention=(point,))
    assert measured.attend_seconds(Attend(4, 16, 4, "forward")) == pytest.approx(1.0)
    assert measured.attend_seconds(Attend(8, 16, 4, "forward")) == pytest.approx(2.0)
    assert measured.attend_seconds(Attend(4, 32, 4, "backward")) == pytest.approx(12.0)


def test_memory_bound_work_by_its_own_rate_or_by_bandwidth():
    asked = Move("add", 1000, 10, "forward")
    assert cost().move_seconds(asked) == pytest.approx(3 * 4 * 1000 / 1e9)
    point = MemoryBound(
        kind="add", elements=500, width=10, dtype="fp32", forward_seconds=1.0, backward_seconds=0.0
    )  # fmt: skip
    measured = cost(memory_bound=(point,))
    assert measured.move_seconds(asked) == pytest.approx(2.0)
    assert measured.move_seconds(Move("gelu", 1000, 10, "forward")) == pytest.approx(2 * 4 * 1000 / 1e9)
    narrow = replace(PLAIN, memory_bound=(replace(point, dtype="bf16"),))
    assert ComputeCost(narrow, "fp32").move_seconds(asked) == pytest.approx(4.0)  # twice the bytes
    assert cost().move_seconds(Move("add", 0, 10, "forward")) == 0.0


def test_views_cost_about_a_dispatch():
    found = ComputeCost(machine(dispatch=6e-6), "fp32")
    assert found.work([Views(10, "forward")]) == (0.0, pytest.approx(10 * 6.6e-6), 0.0)
    assert found.work([Views(10, "backward")]) == (0.0, pytest.approx(10 * 4.5e-6), 0.0)


def test_measured_blocks_say_what_a_view_costs():
    blocks = []
    for norm, model in SMALL_BLOCKS.items():
        block = operations_of(describe_gpt(model)[1], model, SMALL_TOKENS, Plan(stages=(16,)), 0)
        taken = {}
        for way, each in (("forward", 7e-6), ("backward", 3e-6)):
            views = sum(one.number for one in block.of(way) if isinstance(one, Views))
            others = [one for one in block.of(way) if not isinstance(one, Views)]
            taken[f"{way}_seconds"] = sum(cost().work(others)) + each * views
        blocks.append(SmallBlock(norm=norm, **taken))
    found = cost(blocks=tuple(blocks))
    assert found.work([Views(10, "forward")]) == (0.0, pytest.approx(7e-5), 0.0)
    assert found.work([Views(10, "backward")]) == (0.0, pytest.approx(3e-5), 0.0)
    quick = cost(blocks=(SmallBlock(norm="rms", forward_seconds=1e-9, backward_seconds=1e-9),))
    assert quick.work([Views(10, "forward")]) == Work()  # less than its operations alone: none is left for views


def test_the_optimizer_by_its_own_parts_or_by_bandwidth():
    assert cost().optimizer_seconds("adamw", 3, 1000, 4) == pytest.approx(7 * 4 * 1000 / 1e9)
    assert cost().optimizer_seconds("sgd", 3, 1000, 8) == pytest.approx(5 * 8 * 1000 / 1e9)
    point = Optimizer(name="adamw", tensors=3, parameters=1000, seconds=2.0)
    assert cost(optimizer=(point,)).optimizer_seconds("adamw", 3, 1000, 4) == pytest.approx(2.0)
    assert cost(optimizer=(point,)).optimizer_seconds("adamw", 30, 2000, 8) == pytest.approx(8.0)
    # half a second a tensor and a millisecond a parameter
    other = replace(point, tensors=6, parameters=500, seconds=3.5)
    both = cost(optimizer=(replace(point, seconds=2.5), other))
    assert both.optimizer_seconds("adamw", 10, 4000, 4) == pytest.approx(9.0)


def test_ranks_at_work_slow_each_other_down():
    found = cost(contention=Contention(ranks=3, gemm=1.2, memory=2.0, cached=1.1))
    assert found.crowding(1) == (1.0, 1.0, 1.0)
    assert found.crowding(2) == pytest.approx((1.1, 1.05, 1.5))
    assert found.crowding(3) == pytest.approx((1.2, 1.1, 2.0))
    work = found.work([Multiply(10, 10, 10, "forward"), Move("add", 1000, 10, "forward")])
    assert work.crowded(found, 3) == pytest.approx(1.2 * work.multiplying + 1.1 * work.moving)
    large = found.work([Move("add", 2**22, 256, "forward")])
    assert large.crowded(found, 3) == pytest.approx(2.0 * sum(large))


def test_what_no_cache_holds_streams():
    shares = {}
    for megabytes in (1, 2, 4, 8, 16, 64):
        work = cost().work([Move("add", megabytes * 2**18, 256, "forward")])
        shares[megabytes] = work.streaming / (work.moving + work.streaming)
    assert shares == pytest.approx({1: 0.0, 2: 0.25, 4: 0.5, 8: 0.75, 16: 1.0, 64: 1.0})


def test_the_error_is_told_by_the_points():
    assert cost().error == 0.05
    rates = ((64, 1e9), (128, 2e9), (256, 1e9))
    points = tuple(Gemm(m=m, n=64, k=64, dtype="fp32", flops_per_second=rate) for m, rate in rates)
    assert cost(gemm=points).error > 0.2, "a quarter of what each is off as told by the others"

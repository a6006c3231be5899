"""The search on machines of the catalogue: as good as pricing everything, legal, fast, and with true reasons."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from time import process_time

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from plait.clusters import changes
from plait.clusters.answer import plan_cluster, price_plan
from plait.clusters.contest import contest
from plait.clusters.explain import reasons
from plait.clusters.played import played
from plait.clusters.rules import legal
from plait.clusters.search import found_on
from plait.clusters.space import space_of
from plait.clusters.tasks import tasks_of
from plait.errors import IllegalJob, NothingFits, UnusableInput
from plait.estimates.estimate import RISK, running_out
from plait.estimates.memory import memory
from plait.estimates.offload import in_fullest_host
from plait.estimates.step import times
from plait.plans.arrangements import divisors, microbatch_sizes
from plait.plans.legality import is_legal
from plait.specs.cluster import ClusterSpec, GroupSpec
from plait.specs.model import Experts, LatentAttention, ModelSpec
from plait.specs.presets import PRESETS
from plait.units import Bytes, Seconds
from tests.clusters.jobs import SMALL, job, on_rtx_4090, unequal

GPT3 = ModelSpec(**PRESETS["gpt3-175b"], max_positions=2048)
EXPERTS = replace(SMALL, experts=Experts(count=8, per_token=2, ffn=1024))
LATENT = replace(
    SMALL, layers=6, bias=False, tie_embeddings=False, prediction_layers=1,
    latent=LatentAttention(query_rank=256, kv_rank=128, plain=64, rotated=32, value=64),
    experts=Experts(count=8, per_token=2, ffn=1024, shared=1, dense=(0,)),
)  # fmt: skip
WIDE = replace(SMALL, experts=Experts(count=8, per_token=2, ffn=8192))


FIXED = [{}, {"zero": 1}, {"tensor": 1}, {"microbatch": 1}, {"recompute": "none"}, {"schedule": "1f1b"},
         {"offload": "optimizer"}]  # fmt: skip


@st.composite
def spaces(draw):
    ranks = draw(st.sampled_from([1, 2, 4, 6, 8, 12, 16]))
    fixed = draw(st.sampled_from(FIXED))
    model = draw(st.sampled_from([SMALL, EXPERTS, LATENT, replace(SMALL, layers=6, hidden=4096, ffn=16384)]))
    each = draw(st.sampled_from([size for size in (2, 4) if ranks % size == 0] or [1]))
    return job(ranks, model=model, batch=draw(st.sampled_from([16, 24, 32])), each=each, **fixed)


@settings(max_examples=50)
@given(spaces())
def test_the_bounded_search_returns_what_pricing_everything_returns(asked):
    (task,) = tasks_of(asked)
    space = space_of(asked)
    every = space.plans(space.cores)
    risk = running_out(task, memory(task, every).total, in_fullest_host(task, every))
    seconds = times(task, every).step
    found = contest(space, task, 8)
    safe = np.sort(seconds[risk <= RISK])
    if len(safe):
        assert found.seconds == pytest.approx(safe[: len(found.seconds)], rel=1e-12)
        assert len(found.seconds) == min(8, len(safe))


@settings(max_examples=60)
@given(spaces(), st.randoms(use_true_random=False))
def test_plans_that_a_space_holds_are_legal_one_by_one(asked, chance):
    space = space_of(asked)
    every = space.plans(space.cores)
    assert np.all(legal(asked, every))
    row = chance.randrange(len(every))
    keys = ("data", "tensor", "pipeline", "context", "expert", "microbatch")
    fixed = {key: int(getattr(every, key)[row]) for key in keys}
    assert is_legal(replace(asked, constraints={**asked.constraints, **fixed}))


@pytest.mark.clock
@pytest.mark.parametrize(
    ("ranks", "batch", "seconds", "plans"), [(4096, 1536, 2.0, 1_000_000), (100_000, 12_000, 10.0, 20_000_000)]
)
def test_gpt3_on_thousands_of_gpus_is_searched_in_seconds_of_a_core(ranks, batch, seconds, plans):
    asked = job(ranks, model=GPT3, batch=batch)
    asked = replace(asked, training=replace(asked.training, sequence_length=2048))
    plan_cluster(job(8))  # imports, tables
    began = process_time()
    found = plan_cluster(asked)
    assert process_time() - began < seconds
    assert found.considered > plans


@settings(max_examples=60)
@given(spaces())
def test_every_plan_that_a_job_leaves_open_is_counted(asked):
    """What can't be legal whatever else is chosen is counted without being written down."""
    fixed, ranks, rows = asked.constraints, asked.cluster.ranks, asked.training.global_batch
    count = 0
    for tensor, pipeline, context in product(divisors(ranks), repeat=3):
        data, left = divmod(ranks, tensor * pipeline * context)
        if left or not data or fixed.get("tensor", tensor) != tensor:
            continue
        experts = 1 if asked.model.experts is None else len(divisors(asked.model.experts.count))
        sizes = 1 if "microbatch" in fixed else len(microbatch_sizes(-(-rows // data)))
        again = 1 if "recompute" in fixed else 3
        levels = 1 if "zero" in fixed else 4 if data > 1 else 1
        kinds = 3 + 11 + 1 if pipeline > 1 else 1  # with one stage a rank, interleaved with two and more, zb-v with two
        kinds = 1 if "schedule" in fixed else kinds
        count += experts * sizes * again * levels * kinds * (2 if tensor > 1 else 1)
    assert space_of(asked).considered == count


def test_the_best_is_what_its_own_price_says_and_fits():
    found = plan_cluster(job(16))
    best = found.best.found
    assert best.seconds == pytest.approx(price_plan(job(16), best.plan).seconds)
    assert best.risk <= RISK
    assert len(best.memory_bytes) == 16
    total = best.terms.compute + best.terms.bubble + best.terms.optimizer + sum(best.terms.exposed.values())
    assert total == pytest.approx(best.seconds)
    assert [one.found.seconds for one in found.plans] == sorted(one.found.seconds for one in found.plans)


RESTRICTED = (
    {"schedule": "1f1b"}, {"schedule": "interleaved"}, {"pipeline": 1}, {"tensor": 2}, {"context": 1}, {"zero": 1},
    {"recompute": "full"}, {"microbatch": 2}, {"virtual_stages": 1}, {"sequence_parallel": True},
)  # fmt: skip


@settings(max_examples=15)
@given(spaces(), st.sampled_from(RESTRICTED))
def test_what_a_job_forbids_never_makes_its_best_faster(asked, fixed):
    assume(not {*fixed} & {*asked.constraints})
    try:
        kept = plan_cluster(replace(asked, constraints={**asked.constraints, **fixed})).best.found
    except (IllegalJob, NothingFits):
        return
    assert plan_cluster(asked).best.found.seconds <= 1.01 * kept.seconds


@settings(max_examples=8)
@given(spaces())
def test_twice_the_machine_is_never_told_to_be_slower(asked):
    found = plan_cluster(asked)
    for one in found.better:
        assert one.step_seconds is not None
        assert one.step_seconds <= found.best.found.seconds * (1 + 1e-9), one.change


def test_a_batch_that_nothing_divides_has_a_smaller_last_microbatch():
    asked = job(1, model=replace(SMALL, layers=24, hidden=2048, ffn=8192), batch=61, each=1)
    best = plan_cluster(asked).best
    for size in (1, 2, 4, 8, 16):
        try:
            kept = plan_cluster(replace(asked, constraints={"microbatch": size})).best.found.seconds
        except NothingFits:
            continue
        assert best.found.seconds <= 1.001 * kept
    assert best.plan.microbatch not in (1, 61)


@pytest.mark.parametrize("asked", [job(1, batch=100_003, each=1), unequal()])
def test_however_many_microbatches_a_plan_that_fits_is_found(asked):
    wide = replace(asked, training=replace(asked.training, global_batch=100_003))
    assert plan_cluster(wide).best.plan.microbatch < 1000


def test_several_stages_of_one_rank_are_priced_if_they_are_asked_for():
    best = plan_cluster(job(8, schedule="interleaved", pipeline=1)).best.plan
    assert (best.schedule, best.pipeline, best.virtual_stages > 1) == ("interleaved", 1, True)


def test_the_only_format_of_16_bits_is_taken_and_said():
    found = plan_cluster(job(8, device="v100-32gb"))
    assert {task.dtype for task in found.tasks} == {"fp16"}
    assert any("v100-32gb has no units for bf16: priced in fp16" in caution for caution in found.cautions)


def test_nobody_proposes_what_does_not_fit():
    """Stages of unequal size hold more than their mean: what the contest let pass may be too large in detail."""
    deep = replace(SMALL, layers=30, hidden=8192, ffn=32768, heads=64, kv_heads=64)
    found = plan_cluster(job(16, model=deep, zero=1, tensor=1, recompute="full", device="a100-80gb"))
    assert all(one.found.risk <= RISK for one in found.plans)
    for one in found.changes:
        if one.plan is not None and one.change == "half the memory":
            (task,) = tasks_of(found.job)
            small = replace(task.machines.device, memory_bytes=task.machines.device.memory_bytes // 2)
            there = replace(task, machines=replace(task.machines, device=small))
            assert played(one.plan, there).risk <= RISK


def test_utilisation_counts_the_model_s_products_once():
    asked = job(8, recompute="full", tensor=1, pipeline=1)
    best = plan_cluster(asked).best
    tokens = asked.training.global_batch * asked.training.sequence_length
    block = 12 * SMALL.hidden**2 + 13 * SMALL.hidden  # products, biases and norms of one
    weights = SMALL.layers * block + 2 * SMALL.hidden + SMALL.vocab * SMALL.hidden
    flops = tokens * (6 * weights + 6 * SMALL.layers * SMALL.hidden * asked.training.sequence_length)
    assert best.bill.device_flops == pytest.approx(flops / best.found.seconds / 8, rel=1e-3)
    assert best.bill.utilisation == pytest.approx(best.bill.device_flops / 312e12)
    assert 0.1 < best.bill.utilisation < 0.7


def test_what_the_job_fixes_is_kept():
    found = plan_cluster(job(16, tensor=4, zero=1, recompute="full"))
    assert {(one.plan.tensor, one.plan.zero, one.plan.recompute) for one in found.plans} == {(4, 1, "full")}


@pytest.mark.parametrize("asked", [job(8, gradient_precision="fp32", bucket_bytes=2**20),
                                   unequal(gradient_precision="fp32", bucket_bytes=2**20)])  # fmt: skip
def test_so_are_keys_without_a_column(asked):
    wide = replace(asked, training=replace(asked.training, precision="fp64"))
    best = plan_cluster(wide).best.plan
    assert (best.gradient_precision, best.bucket_bytes) == ("fp32", 2**20)


@pytest.mark.parametrize("fixed", [{}, {"tensor": 8}])
def test_experts_are_split_where_that_helps(fixed):
    best, whole = (plan_cluster(job(8, model=WIDE, **fixed, **more)).best for more in ({}, {"expert": 1}))
    assert best.plan.expert == 8
    assert best.found.seconds < 0.95 * whole.found.seconds


def test_why_a_plan_lost_knows_where_its_experts_stand():
    asked = job(16, model=replace(WIDE, experts=replace(WIDE.experts, count=16)), zero=0, microbatch=1, schedule="1f1b")
    (task,) = tasks_of(asked)

    def told(**fixed):
        plan = plan_cluster(replace(asked, constraints={**asked.constraints, **fixed, "pipeline": 1})).best.plan
        one = played(plan, task)
        silent = replace(one.terms, exposed=dict.fromkeys(one.terms.exposed, 0.0))
        best = replace(one, terms=silent, seconds=silent.seconds)
        return [reason.words.partition(":")[0] for reason in reasons(one, best)]

    assert {"expert 8", "data 2"} <= set(told(tensor=8, expert=8, data=2))
    assert {"expert 16 crosses the node"} <= set(told(tensor=8, expert=16, data=2))
    assert "weights that several of the 16 tensor ranks have" in told(tensor=16, expert=1, data=1)


def test_a_model_that_fits_nowhere_is_told_with_its_largest_bytes_and_a_change():
    huge = replace(GPT3, layers=96)
    with pytest.raises(NothingFits, match=r"dies first: it needs .* most of it .*the nearest change"):
        plan_cluster(job(8, model=huge, batch=8, device="rtx-4090"))


def test_a_change_that_would_fit_is_told_with_the_step_that_its_own_plan_has():
    with pytest.raises(NothingFits) as caught:
        plan_cluster(on_rtx_4090(2))
    assert "; fewer with offload, more ranks, sgd, or a smaller model; " in str(caught.value)  # tensor 8 has them all
    would, _, might = str(caught.value).partition("; that might fit: ")
    daring, offloaded = plan_cluster(on_rtx_4090(16)).best, plan_cluster(on_rtx_4090(8, offload="optimizer")).best
    assert daring.risk > RISK >= offloaded.risk
    assert f'"optimizer" with nodes = 8 (32 devices): {Bytes(max(offloaded.prediction.memory_bytes))} of ' in would
    assert f"each host's memory, {Seconds(offloaded.found.seconds)} a step" in would
    assert might.startswith("nodes = 16 (64 devices): ")
    assert might.endswith(f", {Seconds(daring.found.seconds)} a step, may run out of memory ({daring.risk:.0%})")
    steps = [float(seconds) for seconds in re.findall(r"([\d.]+) s a step", would)]
    assert len(steps) > 2
    assert steps == sorted(steps)


def test_whole_experts_on_each_tensor_rank_fit_once_they_may_be_split():
    huge = replace(SMALL, experts=Experts(count=8, per_token=2, ffn=65536))
    with pytest.raises(NothingFits, match=r"plan\.expert = 8: "):
        plan_cluster(job(8, model=huge, tensor=8, expert=1))


UNPRICED = [
    ("compression", "int8"),
    ("synchronisation", "local-sgd"),
    ("schedule", "[[F0]]"),
    ("tensor_shares", (3, 1)),
]


@pytest.mark.parametrize(("key", "value"), [*UNPRICED, ("data_shares", (3, 1))])
def test_what_has_no_price_there_is_refused_in_words(key, value):
    with pytest.raises(UnusableInput, match=rf"{key} = .* can't be priced on machines of the catalogue yet"):
        plan_cluster(job(8, **{key: value}))
    with pytest.raises(UnusableInput, match=rf"{key} = .* can't be priced on machines of the catalogue yet"):
        price_plan(job(8), replace(plan_cluster(job(8)).best.plan, **{key: value}))


@pytest.mark.parametrize(("key", "value"), [*UNPRICED, ("schedule", "zb-h1"), ("context", 2), ("virtual_stages", 2)])
def test_nor_on_unequal_machines(key, value):
    with pytest.raises(UnusableInput, match=rf"{key} = .* can't be priced on unequal machines yet"):
        plan_cluster(unequal(**{key: value}))
    with pytest.raises(UnusableInput, match=rf"{key} = .* can't be priced on unequal machines yet"):
        price_plan(unequal(), replace(plan_cluster(unequal()).best.plan, **{key: value}))


def test_money_and_energy_need_to_be_known():
    with pytest.raises(UnusableInput, match="price_per_hour"):
        plan_cluster(job(8), "money")
    priced = job(8)
    priced = replace(priced, cluster=replace(priced.cluster, price_per_hour=2.0))
    bill = plan_cluster(priced, "money").best.bill
    assert bill.step_money == pytest.approx(8 * 2.0 * bill.step_seconds / 3600)


@pytest.mark.parametrize("asked", [job(16), unequal()])
def test_better_machines_are_never_worse_and_worse_ones_never_better(asked):
    found = plan_cluster(asked)
    now = found.best.found.seconds
    told = {one.change: one.step_seconds for one in found.changes}
    assert set(told) == {
        *(f"links {where} {how} as fast" for where in ("between hosts", "inside a host") for how in ("twice", "half")),
        "twice the memory",
        "half the memory",
    }
    for change, seconds in told.items():
        if "twice" in change:
            assert seconds <= now * 1.0001
        else:
            assert seconds is None or seconds >= now * 0.9999


def test_a_tiny_job_on_faster_links_has_no_slower_plan():
    """Its best by a link twice as fast plays 9 % faster than the dozenth closed form says that anything can."""
    tiny = ModelSpec(layers=12, hidden=256, heads=4, kv_heads=4, ffn=1024, vocab=8000, max_positions=1024)
    asked = job(16, model=tiny, device="rtx-4090", each=4)
    slow, fast = (
        plan_cluster(replace(asked, cluster=replace(asked.cluster, intra_link=link))).best.step_seconds
        for link in ("pcie4", "pcie5")
    )
    assert fast <= slow


def test_a_daring_best_plan_is_among_those_that_better_machines_are_judged_by(monkeypatch):
    """Where a search on faster links finds a safe plan that the first one left out, but a slower one."""
    asked = on_rtx_4090(16)
    found = plan_cluster(asked)
    best = found.best.found
    assert best.risk > RISK
    slow = replace(best, seconds=2 * best.seconds, memory=tuple(replace(held, risk=0.0) for held in best.memory))

    def safe_alone(*args, **keys):
        return replace(found_on(asked, found.tasks[0], places=1, shapes=1), plans=(slow,), daring=False)

    monkeypatch.setattr(changes, "found_on", safe_alone)
    faster = next(one for one in found.better if one.change == "links between hosts twice as fast")
    assert faster.step_seconds <= best.seconds
    assert not faster.changes


def test_where_half_the_memory_is_too_little_nothing_would_fit():
    large = replace(SMALL, layers=32, hidden=2048, ffn=8192)
    found = plan_cluster(job(1, each=1, device="a100-40gb", model=large, batch=1))
    (half,) = (one for one in found.changes if one.change == "half the memory")
    assert half.plan is None


def test_unequal_machines_have_unequal_parts_and_beat_even_ones():
    found = plan_cluster(unequal())
    best = found.best.plan
    even = price_plan(unequal(), replace(best, data_shares=(1,) * best.data)) if best.pipeline == 1 else None
    assert len(set(best.data_shares)) > 1 or len(set(best.stages)) > 1
    if even is not None:
        assert found.best.found.seconds < 0.9 * even.seconds


def test_rows_that_are_dealt_evenly_by_speed_are_the_even_cut():
    """Of groups that are nearly as fast no plan stands there twice, in other words."""
    asked = unequal(pipeline=1)
    groups = tuple(GroupSpec(device=name, devices_per_node=4) for name in ("a100-80gb", "a100-40gb"))
    found = plan_cluster(replace(asked, cluster=ClusterSpec(groups=groups, ranks=8))).plans
    shares = [one.plan.data_shares for one in found]
    assert any(len(one) > 1 for one in shares)
    assert all(len(set(one)) > 1 or set(one) == {1} for one in shares)


def test_two_equal_groups_are_as_one():
    alone = job(8, each=4)
    both = replace(alone, cluster=ClusterSpec(device="a100-80gb", nodes=2, devices_per_node=4, ranks=8))
    assert plan_cluster(alone).best.found.seconds == plan_cluster(both).best.found.seconds

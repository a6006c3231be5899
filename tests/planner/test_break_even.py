"""Compression is priced, and it is said when it pays: on a slow link it does, on a fast one it costs."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from plait.planner.break_even import compression_words
from plait.planner.prices import JobPrices
from plait.planner.search import search
from plait.planner.simulator import played
from plait.planner.stage import stage_of
from plait.plans.plan import Plan
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from tests.planner.machines import machine

MODEL = ModelSpec(layers=2, hidden=128, heads=4, kv_heads=4, ffn=512, vocab=500, max_positions=64)
TRAINING = TrainingSpec(global_batch=8, sequence_length=64)
DP2 = Plan(data=2, data_shares=(1, 1), stages=(2,), microbatch=1)
FORMS = ("fp16", "bf16", "int8", "powersgd:4", "topk:0.01")
SPEED = re.compile(r"pays below ([0-9.e+-]+) Gbit/s .* measured ([0-9.e+-]+) Gbit/s it (costs|saves)")


def step_seconds(form, link, plan=DP2):
    return played(replace(plan, compression=form), JobPrices(MODEL, TRAINING, machine(link=link))).step.seconds


@pytest.mark.parametrize("form", FORMS)
def test_a_slow_link_gains_and_a_fast_one_loses(form):
    assert step_seconds(form, 1e6) < step_seconds("none", 1e6)
    assert step_seconds(form, 1e12) > step_seconds("none", 1e12)


@pytest.mark.parametrize("link", [1e6, 1e12])
@pytest.mark.parametrize("form", FORMS)
def test_the_words_are_true(form, link):
    prices = JobPrices(MODEL, TRAINING, machine(link=link, latency=1e-9))
    travels, pays = compression_words(played(replace(DP2, compression=form), prices), prices)
    assert form in travels
    below, measured, effect = SPEED.search(pays).groups()
    assert (float(measured) < float(below)) == (effect == "saves") == (link == 1e6)


@pytest.mark.parametrize(
    ("link", "said"), [(None, "at the assumed link's "), ("ethernet-200mbit", "at the declared link's ")]
)
def test_what_nobody_measured_is_not_said_to_be(link, said):
    prices = JobPrices(MODEL, TRAINING, machine(), ClusterSpec(ranks=2, nodes=2, inter_link=link))
    _, pays = compression_words(played(replace(DP2, compression="int8"), prices), prices)
    assert said in pays
    assert "measured" not in pays


@pytest.mark.parametrize(("form", "saved"), [("fp16", 0.5), ("int8", 0.746)])
@pytest.mark.parametrize("each", [2, 4])
def test_hosts_of_several_ranks_save_what_the_form_does(form, saved, each):
    """Of what leaves a host, and so of the time on a link beside which all else is nothing: as between two ranks."""
    plan = replace(DP2, data=2 * each, data_shares=(1,) * 2 * each)
    cluster = ClusterSpec(ranks=2 * each, nodes=2, devices_per_node=each, inter_link="ethernet-50mbit")
    prices = JobPrices(MODEL, TRAINING, machine(cores=each, link=1e12, latency=0.0, backend="shared-memory"), cluster)
    stage = stage_of(MODEL, TRAINING, plan, 0)
    dense = prices.sums.sum_seconds(plan, stage)
    packed = replace(plan, compression=form)
    assert prices.sums.sum_seconds(packed, stage_of(MODEL, TRAINING, packed, 0)) == pytest.approx(
        (1 - saved) * dense, rel=0.02
    )
    travels, pays = compression_words(played(packed, prices), prices)
    assert re.search(r"each host sends [\d.]+ \w+ a step, not [\d.]+ \w+, and each of its ranks keeps", travels)
    assert re.search(r"at the declared link's 0.04[5-9]\d* Gbit/s it saves ", pays)  # of 50 Mbit/s, without headers


def test_replicas_that_learn_alone_send_no_gradients():
    plan = replace(DP2, synchronisation="diloco", compression="int8", local_steps=8)
    prices = JobPrices(MODEL, TRAINING, machine())
    travels, _ = compression_words(played(plan, prices), prices)
    assert travels.startswith("changes of weights travel as int8: each replica sends ")
    assert " every 8 steps, not " in travels
    each = compression_words(played(replace(plan, local_steps=1), prices), prices)[0]
    assert " a step, not " in each


def test_nothing_is_said_of_what_is_not_there():
    prices = JobPrices(MODEL, TRAINING, machine())
    assert compression_words(played(DP2, prices), prices) == ()
    alone = replace(DP2, data=1, data_shares=(1,), compression="int8")
    assert compression_words(played(alone, prices), prices) == ("one replica: no gradients travel",)


def test_what_can_not_be_smaller_goes_whole_and_that_is_said():
    prices = JobPrices(MODEL, TRAINING, machine())
    (words,) = compression_words(played(replace(DP2, compression="powersgd:400"), prices), prices)
    assert "makes nothing smaller here" in words


def test_what_tensor_ranks_hold_alike_goes_whole_and_that_is_said():
    prices = JobPrices(MODEL, TRAINING, machine())
    plan = replace(DP2, tensor=2, tensor_shares=(1, 1), compression="int8")
    assert "held alike by tensor ranks" in compression_words(played(plan, prices), prices)[0]


def test_a_search_compresses_only_where_it_is_asked_to():
    job = Job(model=MODEL, training=TRAINING, cluster=ClusterSpec(ranks=2))
    asked = replace(job, constraints={"compression": "int8", "data": 2})
    slow = machine(link=1e5)
    assert {one.plan.compression for one in search(job, slow).plans} == {"none"}
    found = search(asked, slow)
    assert {(one.plan.compression, one.plan.zero) for one in found.plans} == {("int8", 0)}
    assert any("pays below" in caution for caution in found.cautions)

"""What would hide a slow link is priced truly, named fastest first, and never chosen by itself."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.planner import communication_cost
from plait.planner.hiding import TARGETS
from plait.planner.hiding_words import hiding_lines
from plait.planner.prices import JobPrices
from plait.planner.search import search
from plait.planner.simulator import predict
from plait.plans.legality import plan_problems
from plait.specs.catalogue import LINKS
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.links import LinkSpeed
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from tests.planner.machines import machine

MODEL = ModelSpec(layers=4, hidden=128, heads=4, kv_heads=4, ffn=512, vocab=500, max_positions=64)
TRAINING = TrainingSpec(global_batch=8, sequence_length=64)
MACHINE = machine(cores=1, latency=1e-5)


def job(link="ethernet-50mbit", each=1, **constraints):
    cluster = ClusterSpec(ranks=2 * each, nodes=2, devices_per_node=each, inter_link=link)
    return Job(model=MODEL, training=TRAINING, cluster=cluster, constraints=constraints)


def found(asked, measurements=MACHINE):
    plans = search(asked, measurements)
    return plans, plans.would_hide


@pytest.mark.parametrize("each", [1, 2])
def test_each_choice_is_priced_as_the_plan_that_it_names(each):
    plans, hiding = found(job(each=each, data=2 * each, zero=0))
    prices = JobPrices(MODEL, TRAINING, MACHINE, job(each=each).cluster)
    assert hiding.dense_seconds == predict(hiding.plan, prices).step_seconds
    for one in hiding.choices:
        assert predict(one.plan, prices).step_seconds == one.step_seconds < plans.best.prediction.step_seconds
        assert one.kept == pytest.approx(hiding.unhindered_seconds / one.step_seconds)
        assert {key: getattr(one.plan, key) for key in one.keys} == one.keys
        assert plan_problems(job(each=each), one.plan) == []


def test_the_first_is_the_fastest_and_none_is_chosen():
    plans, hiding = found(job())
    seconds = [one.step_seconds for one in hiding.choices]
    assert seconds == sorted(seconds)
    assert all(one.plan.compression == "none" and one.plan.synchronisation == "all-reduce" for one in plans.plans)


def test_every_target_that_can_be_kept_has_the_fewest_steps_alone_that_keep_it():
    _, hiding = found(job(data=2, zero=0))
    prices = JobPrices(MODEL, TRAINING, MACHINE, job().cluster)
    diloco = {one.plan.local_steps: one for one in hiding.choices if one.keys.get("synchronisation") == "diloco"}
    assert diloco
    for one in diloco.values():
        fewer = replace(one.plan, local_steps=one.plan.local_steps // 2)
        kept = hiding.unhindered_seconds / predict(fewer, prices).step_seconds
        assert one.plan.local_steps == 2 or any(kept < target <= one.kept for target in TARGETS)


@settings(max_examples=25)
@given(
    alpha=st.floats(1e-6, 1e-2),
    slow=st.floats(1e5, 1e10),
    times=st.floats(1.01, 1e3),
    microbatch=st.sampled_from([1, 4]),
)
def test_a_faster_link_never_costs_more(alpha, slow, times, microbatch):
    """Of the plan as it is, and of whatever is named."""
    asked = job("unseen", data=2, zero=0, microbatch=microbatch)
    told = []
    for speed in (slow, slow * times):
        with pytest.MonkeyPatch.context() as patch:
            unseen = LinkSpeed(alpha=alpha, bytes_per_second=speed)
            patch.setattr(communication_cost, "LINKS", {**LINKS, "unseen": unseen})
            plans, hiding = found(asked)
        best = plans.best.prediction.step_seconds
        named = hiding.choices[0].step_seconds if hiding else best
        assert named <= best
        assert hiding is None or all(named <= one.step_seconds for one in hiding.choices)
        told.append((best, named))
    (before, _), (after, _) = told
    assert after <= before * (1 + 1e-9)


def test_what_costs_nothing_need_not_be_hidden():
    assert found(job("ethernet-100gbit", data=2, zero=0), machine(cores=1, latency=1e-5, flops=1e9))[1] is None
    here = replace(job(data=2), cluster=ClusterSpec(ranks=2))
    assert search(here, MACHINE).would_hide is None


def test_what_the_job_fixes_is_kept():
    _, hiding = found(job(data=2, compression="int8", bucket_bytes=12345))
    assert {one.plan.compression for one in hiding.choices} == {"int8"}
    assert {one.plan.bucket_bytes for one in hiding.choices} == {12345}
    assert {one.plan.synchronisation for one in hiding.choices} == {"diloco", "local-sgd"}
    assert len({one.plan for one in hiding.choices}) == len(hiding.choices)
    assert found(job(data=2, zero=2))[1] is None  # pieces of sums have no form in fewer bytes


def test_the_words_name_the_first_as_it_can_be_written():
    _, hiding = found(job(data=2, zero=0))
    *lines, last = hiding_lines(hiding)
    written = last.partition("write ")[2].partition(" in [plan]")[0].replace(", ", "\n")
    assert tomllib.loads(written) == hiding.choices[0].keys
    assert "LOSSY" in last
    assert "47.1 Mbit/s" in lines[0]
    assert lines[-1].split()[:3] == ["as", "it", "is"]
    assert f"{hiding.choices[0].kept:.0%}" in lines[2]

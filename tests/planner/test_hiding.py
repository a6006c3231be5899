"""What would hide a slow link is priced truly, named fastest first, and never chosen by itself."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.planner import communication_cost
from plait.planner.hiding import _INTERVALS, TARGETS, gentlest
from plait.planner.hiding_words import hiding_lines
from plait.planner.prices import JobPrices
from plait.planner.search import search
from plait.planner.simulator import predict
from plait.plans.legality import plan_problems
from plait.plans.meetings import FEW, pace_of
from plait.plans.plan import Plan
from plait.sharding.mesh_shape import AXES
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.links import LinkSpeed
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.units import Seconds
from tests.planner.machines import machine

MODEL = ModelSpec(layers=4, hidden=128, heads=4, kv_heads=4, ffn=512, vocab=500, max_positions=64)
TRAINING = TrainingSpec(global_batch=8, sequence_length=64)
MACHINE = machine(cores=1, latency=1e-5)


LONG = replace(TRAINING, steps=10_000)  # that a dense beginning hardly counts


def job(link="ethernet-50mbit", each=1, training=LONG, **constraints):
    cluster = ClusterSpec(ranks=2 * each, nodes=2, devices_per_node=each, inter_link=link)
    return Job(model=MODEL, training=training, cluster=cluster, constraints=constraints)


def found(asked, measurements=MACHINE):
    plans = search(asked, measurements)
    return plans, plans.would_hide


@pytest.mark.parametrize("each", [1, 2])
def test_each_choice_is_priced_as_the_plan_that_it_names(each):
    plans, hiding = found(job(each=each, data=2 * each, zero=0))
    prices = JobPrices(MODEL, TRAINING, MACHINE, job(each=each).cluster)
    assert hiding.dense_seconds == predict(hiding.plan, prices).step_seconds
    for one in hiding.choices:
        assert predict(one.plan, prices).step_seconds == one.step_seconds
        assert one.run_seconds < plans.best.prediction.step_seconds
        assert one.kept == pytest.approx(hiding.unhindered_seconds / one.run_seconds)
        assert {key: getattr(one.plan, key) for key in one.keys} == one.keys
        assert plan_problems(job(each=each), one.plan) == []


@pytest.mark.parametrize("warm_up", [0, 1, 20, 50])
def test_a_run_takes_as_long_as_all_its_steps(warm_up):
    """Each priced by its pace, at the price of the very plan that does that: a dense one first."""
    training = replace(TRAINING, steps=200, warmup_steps=warm_up)
    asked = job(training=training, data=2, zero=0)
    _, hiding = found(asked)
    prices = JobPrices(MODEL, training, MACHINE, asked.cluster)
    for one in hiding.choices:
        whole = replace(one.plan, synchronisation="all-reduce", compression="none", local_steps=1)
        dense = predict(whole, prices).step_seconds
        paces = [pace_of(one.plan, training, step) for step in range(200)]
        seconds = sum(dense if pace == "dense" else one.step_seconds for pace in paces)
        assert one.run_seconds == pytest.approx(seconds / 200)
        assert one.dense_steps == paces.count("dense") <= 3 * warm_up
    assert {one.dense_steps for one in hiding.choices} == {0, 3 * warm_up}


def test_who_is_slower_in_a_step_may_be_faster_in_a_run():
    training = replace(TRAINING, steps=200, warmup_steps=50)
    _, hiding = found(job(training=training, data=2, zero=0))
    first = hiding.choices[0]
    assert first.keys == {"compression": "int8"}
    assert any(one.step_seconds < first.step_seconds for one in hiding.choices)
    assert found(job(data=2, zero=0))[1].choices[0].dense_steps > 0


def test_replicas_meet_a_few_times_before_the_run_ends():
    for steps in (20, 70, 79, 100, 200, 1000):
        training = replace(TRAINING, steps=steps)
        _, hiding = found(job(training=training, data=2, zero=0))
        for one in hiding.choices:
            paces = [pace_of(one.plan, training, step) for step in range(steps)]
            assert paces.count("meets") + paces.count("settles") >= FEW
    assert any("local_steps" in one.keys for one in hiding.choices)


@pytest.mark.parametrize(("steps", "warm_up"), [(100, 40), (60, 20), (61, 20)])
def test_what_begins_dense_is_not_offered_where_the_run_ends_with_it(steps, warm_up):
    training = replace(TRAINING, steps=steps, warmup_steps=warm_up)
    _, hiding = found(job(training=training, data=2, zero=0))
    assert {tuple(one.keys.values()) for one in hiding.choices} == {("fp16",), ("int8",)}


def test_what_the_job_has_taken_is_judged_by_its_run_too():
    """Its steady step is nearly unhindered, so that only by the run's mean there is something to hide."""
    training = replace(TRAINING, steps=200, warmup_steps=40)
    asked = job(training=training, data=2, zero=0, synchronisation="diloco", local_steps=16)
    plans, hiding = found(asked)
    prices = JobPrices(MODEL, training, MACHINE, asked.cluster)
    dense = predict(Plan(data=2, data_shares=(1, 1), stages=(4,), bucket_bytes=hiding.plan.bucket_bytes,
                         microbatch=hiding.plan.microbatch), prices).step_seconds  # fmt: skip
    steady = predict(hiding.plan, prices).step_seconds
    assert steady < dense
    assert hiding.dense_seconds == pytest.approx((120 * dense + 80 * steady) / 200)
    assert all(steady < one.run_seconds < hiding.dense_seconds for one in hiding.choices)
    assert plans.best.prediction.step_seconds == steady
    (caution,) = (one for one in plans.cautions if "dense" in one)
    assert caution.startswith(f"the first 120 of 200 steps are dense, {Seconds(dense)} each: ")
    assert caution.endswith(f"mean step takes {Seconds(hiding.dense_seconds)}")


def test_a_run_without_a_dense_beginning_is_told_nothing_of_one():
    plans, _ = found(job(training=replace(TRAINING, warmup_steps=0), data=2, zero=0, synchronisation="diloco"))
    assert not any("dense" in one for one in plans.cautions)


def test_the_first_is_the_fastest_and_none_is_chosen():
    plans, hiding = found(job())
    seconds = [one.run_seconds for one in hiding.choices]
    assert seconds == sorted(seconds)
    assert all(one.plan.compression == "none" and one.plan.synchronisation == "all-reduce" for one in plans.plans)


@pytest.mark.parametrize(("steps", "link"), [(10_000, "ethernet-50mbit"), (200, "ethernet-1gbit")])
def test_every_target_that_can_be_kept_has_the_fewest_steps_alone_that_keep_it(steps, link):
    """Of a steady step, however much of the run is dense."""
    asked = job(link, data=2, zero=0, training=replace(TRAINING, steps=steps))
    _, hiding = found(asked)
    prices = JobPrices(MODEL, TRAINING, MACHINE, asked.cluster)
    diloco = {one.plan.local_steps: one for one in hiding.choices if one.keys.get("synchronisation") == "diloco"}
    assert len(diloco) > 1
    for one in diloco.values():
        before_it = [8, *(steps for steps in _INTERVALS if steps < one.plan.local_steps)][-1]
        fewer = replace(one.plan, local_steps=before_it)
        kept, before = (hiding.unhindered_seconds / predict(plan, prices).step_seconds for plan in (one.plan, fewer))
        assert one.plan.local_steps == 8 or any(before < target <= kept for target in TARGETS)


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
            patch.setattr(communication_cost, "speed_between", {"unseen": unseen}.__getitem__)
            plans, hiding = found(asked)
        best = plans.best.prediction.step_seconds
        named = hiding.choices[0].run_seconds if hiding else best
        assert named <= best
        assert hiding is None or all(named <= one.run_seconds for one in hiding.choices)
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


@pytest.mark.parametrize("share", [0.0, 0.6, *TARGETS])
def test_the_gentlest_of_those_that_keep_enough(share):
    """Rounding before replicas that learn alone, the fewest steps before more, whole sums of those before int8's."""
    _, hiding = found(job("ethernet-1gbit", data=2, zero=0))
    enough = [one for one in hiding.choices if one.kept >= share]
    mild = gentlest(hiding.choices, share)
    assert mild in enough
    if not share:
        assert mild.keys == {"compression": "fp16"}
    for one in enough:
        assert one is mild or one.keys != {"compression": "fp16"}
        if one.keys.get("synchronisation") == mild.keys.get("synchronisation") == "diloco":
            assert mild.plan.local_steps <= one.plan.local_steps
    assert gentlest(hiding.choices, 1.01) is None


@pytest.mark.parametrize(
    ("keys", "steps"), [({}, 10_000), ({"data": 2, "zero": 0}, 10_000), ({"data": 2, "zero": 0}, 200)]
)
def test_who_writes_what_is_advised_gets_the_plan_that_was_priced(keys, steps):
    """Also where the best plan is none of replicas."""
    asked = job(training=replace(TRAINING, steps=steps), **keys)
    plans, hiding = found(asked)
    assert {key: plans.best.plan.mesh.size(key) for key in hiding.advice if key in AXES} == (
        {} if keys else {"data": 1, "pipeline": 2}
    )
    words = next(hiding_lines(hiding))
    assert ("holds up another plan, data 2" in words) == (not keys)
    then = search(replace(asked, constraints={**asked.constraints, **hiding.advice}), MACHINE)
    assert then.best.plan == hiding.advised.plan


def test_the_best_plan_stands_among_the_choices_where_it_is_another():
    for keys in ({}, {"data": 2, "zero": 0}):
        plans, hiding = found(job(**keys))
        rows = [line for line in hiding_lines(hiding) if line.startswith("  the best plan, above")]
        assert len(rows) == (plans.best.plan != hiding.plan)
        assert all(str(Seconds(hiding.best_seconds)) in row for row in rows)
        assert bool(keys) is not bool(rows)


@pytest.mark.parametrize("steps", [10_000, 200])
def test_the_words_advise_the_gentlest_as_it_can_be_written(steps):
    """Of a long run what keeps 95 %; of a short one, much of which is dense, what keeps most."""
    _, hiding = found(job("ethernet-1gbit", data=2, zero=0, training=replace(TRAINING, steps=steps)))
    words = list(hiding_lines(hiding))
    place = next(number for number, line in enumerate(words) if "LOSSY" in line)
    lines, advice = words[:place], words[place + 1]
    written = advice.partition("write ")[2].partition(" in [plan]")[0].replace(", ", "\n")
    advised = gentlest(hiding.choices, 0.95) if steps > 200 else hiding.choices[0]
    assert advised is hiding.advised
    assert tomllib.loads(written) == advised.keys
    assert f"it keeps {advised.kept:.0%}, " in advice
    assert ("none keeps nine tenths" in advice) == (steps == 200)
    assert "941 Mbit/s" in lines[0]
    assert lines[-1].split()[:3] == ["as", "it", "is"]
    assert f"{hiding.choices[0].kept:.0%}" in lines[3]


def test_the_words_tell_a_beginning_and_where_the_learning_is_told():
    _, hiding = found(job(data=2, zero=0, training=replace(TRAINING, steps=1000)))
    words = list(hiding_lines(hiding))
    assert "a run of 1000 steps" in words[1]
    assert words[2].split() == ["steady", "mean"]
    end, learning = (next(n for n, line in enumerate(words) if sign in line) for sign in ("as it is", "benchmarks.md"))
    told = {line.split("  ")[1]: "60 dense steps first" in line for line in words[3:end]}
    assert told["int8"] is told["fp16"] is False
    assert told["powersgd:4"] is True
    assert [line.split()[0] for line in words[learning + 1 :]] == ["fp16", "int8", "powersgd", "local-sgd", "diloco"]

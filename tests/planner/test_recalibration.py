"""A wrong profile is put right by one run: corrections make the prediction of another plan better, in their bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.planner.coverage import corrected_by_runs, correction_words
from plait.planner.prices import JobPrices
from plait.planner.recalibration import Observed, recalibrated
from plait.planner.simulator import predict
from plait.plans.completion import complete
from plait.plans.prediction import Prediction
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.measurements import Measurements
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from tests.planner.machines import machine

TRUE = machine(flops=50e9, bandwidth=5e9, latency=2e-5, link=5e8, dispatch=2e-6)
MODEL = ModelSpec(layers=4, hidden=64, heads=4, kv_heads=4, ffn=256, vocab=256, max_positions=64)


def job(nodes: int = 1, **plan) -> Job:
    training = TrainingSpec(global_batch=8, sequence_length=64)
    return Job(model=MODEL, training=training, cluster=ClusterSpec(ranks=2, nodes=nodes), constraints=plan)


DP2 = {"data": 2, "tensor": 1, "pipeline": 1, "microbatch": 4}
TP2 = {"data": 1, "tensor": 2, "pipeline": 1, "microbatch": 8}
PP2 = {"data": 1, "tensor": 1, "pipeline": 2, "microbatch": 2}
PLANS = {"data": DP2, "tensor": TP2, "pipeline": PP2}


def predicted(known: Measurements, asked: Job) -> Prediction:
    return predict(complete(asked), JobPrices(asked.model, asked.training, known, asked.cluster))


def ran(known: Measurements, asked: Job) -> Observed:
    """A run on a machine that is as `known` says, to the letter."""
    found = predicted(known, asked)
    return Observed(
        plan=complete(asked), step_seconds=found.step_seconds, terms=found.terms, stages=found.stages,
        transfers=found.transfers,
    )  # fmt: skip


def with_products(known: Measurements, ratio: float) -> Measurements:
    return replace(known, gemm=tuple(replace(one, flops_per_second=one.flops_per_second * ratio) for one in known.gemm))


def with_links(known: Measurements, ratio: float) -> Measurements:
    faster = (
        replace(one, alpha0=one.alpha0 / ratio, bytes_per_second=one.bytes_per_second * ratio)
        for one in known.collectives
    )
    return replace(known, collectives=tuple(faster))


def error(known: Measurements, asked: Job) -> float:
    real = predicted(TRUE, asked).step_seconds
    return abs(predicted(known, asked).step_seconds / real - 1)


@pytest.mark.parametrize("wrong", [with_products(TRUE, 1.5), with_products(TRUE, 1 / 1.5)], ids=["fast", "slow"])
@pytest.mark.parametrize(("one", "other"), [("data", "pipeline"), ("pipeline", "tensor"), ("tensor", "data")])
def test_wrong_products_are_put_right_for_another_plan(wrong, one, other):
    asked = job(**PLANS[one])
    corrected = recalibrated(asked, wrong, [ran(TRUE, asked)], source="runs/x").measurements
    assert error(wrong, job(**PLANS[other])) > 0.1
    assert error(corrected, job(**PLANS[other])) < 0.25 * error(wrong, job(**PLANS[other]))
    assert [one.what for one in corrected.corrections] == ["computing"]


@pytest.mark.parametrize("ratio", [1.5, 1 / 1.5])
@pytest.mark.parametrize(("one", "other"), [("tensor", "data"), ("data", "tensor"), ("pipeline", "tensor")])
def test_a_wrong_link_is_put_right_for_another_plan(ratio, one, other):
    wrong, asked = with_links(TRUE, ratio), job(**PLANS[one])
    corrected = recalibrated(asked, wrong, [ran(TRUE, asked)], source="runs/x").measurements
    assert error(wrong, job(**PLANS[other])) > 0.02
    assert error(corrected, job(**PLANS[other])) < 0.2 * error(wrong, job(**PLANS[other]))
    assert [(one.what, one.ratio) for one in corrected.corrections] == [
        ("links inside a host", pytest.approx(ratio, rel=0.05))
    ]


def test_links_between_hosts_are_told_from_those_inside_one():
    inside, apart = job(**TP2), job(nodes=2, **TP2)
    wrong = ran(TRUE, apart)
    slower = replace(wrong, terms=replace(wrong.terms, exposed={k: 2 * v for k, v in wrong.terms.exposed.items()}))
    corrected = recalibrated(apart, TRUE, [slower], source="runs/x").measurements
    assert [one.what for one in corrected.corrections] == ["links between hosts"]
    assert predicted(corrected, inside) == predicted(TRUE, inside)
    assert predicted(corrected, apart).terms.exposed["tensor"] == pytest.approx(
        slower.terms.exposed["tensor"], rel=1e-3
    )


def test_what_messages_take_from_computing_is_not_put_down_to_it():
    across = tuple(replace(one, hosts=2, overhead=2e-3) for one in TRUE.collectives)
    true = replace(TRUE, collectives=(*TRUE.collectives, *across))
    asked, wrong = job(nodes=2, **PP2), with_products(true, 1.5)
    corrected = recalibrated(asked, wrong, [ran(true, asked)], source="runs/x").measurements
    stages = [one.compute for one in predicted(true, asked).stages]
    assert [one.compute for one in predicted(corrected, asked).stages] == pytest.approx(stages, rel=0.02)


def test_a_run_that_went_as_predicted_corrects_nothing():
    asked = job(**DP2)
    assert recalibrated(asked, TRUE, [ran(TRUE, asked)], source="runs/x").measurements == TRUE


def test_corrections_are_found_from_the_profile_alone_and_don_t_pile_up():
    asked, wrong = job(**DP2), with_products(TRUE, 1.5)
    once = recalibrated(asked, wrong, [ran(TRUE, asked)], source="runs/x", date="2026-11-29").measurements
    assert recalibrated(asked, once, [ran(TRUE, asked)], source="runs/x", date="2026-11-29").measurements == once
    assert replace(once, corrections=()) == wrong
    (words,) = corrected_by_runs(once)
    assert words.startswith("computing: 1.")
    assert "runs/x" in words
    assert "2026-11-29" in words


def beyond(what: str, times: float, run: Observed) -> Observed:
    """The run, in which something took so many times as long."""
    if what == "computing":
        return replace(run, stages=tuple(replace(one, compute=times * one.compute) for one in run.stages))
    exposed = {axis: times * seconds for axis, seconds in run.terms.exposed.items()}
    return replace(run, terms=replace(run.terms, exposed=exposed))


@pytest.mark.parametrize("what", ["computing", "links inside a host"])
@pytest.mark.parametrize(("times", "words"), [(100, "more than 3.00 times"), (0.001, "less than 0.33 times")])
def test_what_is_beyond_all_belief_is_left_out_or_cut_where_that_is_asked_for(what, times, words):
    asked = job(**DP2)
    run = beyond(what, times, ran(TRUE, asked))
    found = recalibrated(asked, TRUE, [run], source="runs/x")
    assert found.measurements == TRUE
    (one,) = found.left_out
    assert (one.what, one.ratio) == (what, pytest.approx(3.0 if times > 1 else 1 / 3, rel=1e-12))
    assert words in correction_words(one)
    assert "a crowded machine" in correction_words(one)
    assert recalibrated(asked, TRUE, [run], source="runs/x", cut=True).measurements.corrections == (
        replace(one, asked_for=True),
    )


def test_a_plan_that_tells_nothing_says_nothing_of_links():
    alone = replace(job(data=1, tensor=1, pipeline=1), cluster=ClusterSpec(ranks=1))
    found = recalibrated(alone, with_links(TRUE, 1.5), [ran(TRUE, alone)], source="runs/x").measurements
    assert found.corrections == ()

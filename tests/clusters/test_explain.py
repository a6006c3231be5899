"""Why a plan lost on machines of the catalogue: what it pays and the best one does not, as their own terms say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.clusters.answer import plan_cluster, price_plan
from plait.clusters.explain import reasons, why_it_lost, why_not_ranked
from plait.estimates.estimate import DARING, RISK
from plait.plans.prediction import Terms
from plait.units import Seconds
from tests.clusters.jobs import job, on_rtx_4090, unequal


def term(terms: Terms, words: str) -> float:
    """The term that a sentence names."""
    if "bubble" in words:
        return terms.bubble
    if words.endswith("communication"):
        return terms.exposed[words.split()[0]]
    if "transfers between stages" in words:
        return terms.exposed["pipeline"]
    return terms.optimizer if "optimizer" in words else terms.compute


@pytest.mark.parametrize("asked", [job(16), job(16, tensor=2, pipeline=2), job(8, zero=3), unequal()])
def test_what_is_named_is_larger_than_the_best_plan_s_and_alone_enough(asked):
    found = plan_cluster(asked)
    best, *losers = found.plans
    told = 0
    for one in losers:
        words = str(one.lost_because)
        if words.startswith(("as fast as the best", "no single reason")):
            continue
        own, rivals = term(one.found.terms, words), term(best.found.terms, words)
        assert own > rivals
        assert one.found.seconds - (own - rivals) <= best.found.seconds * (1 + 1e-9)
        told += 1
    assert told


def test_communication_that_both_pay_is_no_reason():
    """Two plans of the same axes, the second with smaller operations: its sums over data were there before."""
    asked = job(16, tensor=1, pipeline=1, zero=1, context=1, recompute="none")
    best = plan_cluster(asked).best.found
    other = price_plan(asked, replace(best.plan, microbatch=1))
    sums = best.terms.exposed["data"]
    dear = replace(other, terms=replace(other.terms, exposed={**other.terms.exposed, "data": sums}))
    machines = plan_cluster(asked).tasks[0].machines
    assert sums > 0
    assert not any("communication" in reason.words for reason in reasons(dear, best, machines))
    assert "compute +" in why_it_lost(other, best, machines)


def test_a_faster_plan_that_was_not_played_is_not_called_a_loser():
    found = plan_cluster(job(16))
    best, slow = found.best.found, found.plans[-1].found
    assert "faster than the best: it was left out" in why_not_ranked(best, slow, found.tasks, 0.1)
    assert why_not_ranked(slow, best, found.tasks, 0.1) == found.plans[-1].lost_because
    assert "may run out of memory (0%): it needs" in why_not_ranked(slow, best, found.tasks, -1.0)


def test_plans_that_come_to_mind_fit_by_the_limit_of_the_search():
    """Where the best plan may run out of memory, one that needs less does not surely do."""
    found = plan_cluster(on_rtx_4090(16))
    assert found.limit == DARING
    daring = 0
    for one in found.obvious:
        risk = price_plan(found.job, one.plan).risk
        assert (one.step_seconds is not None) is (risk <= DARING)
        assert ("dies first" in one.why) is (risk > DARING)
        assert (f"may run out of memory ({risk:.0%})" in one.why) is (RISK < risk <= DARING)
        daring += RISK < risk <= DARING
    assert daring


def test_where_no_plan_is_safe_the_safest_of_those_that_are_proposed_is_named():
    found = plan_cluster(on_rtx_4090(16))
    (words,) = [one for one in found.cautions if one.startswith("no plan is safe")]
    place = int(words.partition("the safest that is proposed, plan ")[2].partition(" ")[0]) - 1
    safest = found.plans[place]
    assert safest.risk < found.best.risk - 0.01
    assert safest.risk <= min(one.risk for one in found.plans) + 0.005
    assert f"with one of {safest.risk:.0%}: it takes {Seconds(safest.found.seconds)} a step (+" in words

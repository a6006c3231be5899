"""Why a plan lost on machines of the catalogue: what it pays and the best one does not, as their own terms say."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from plait.clusters.answer import plan_cluster, price_plan
from plait.clusters.explain import reasons, too_large, why_it_lost, why_not_ranked
from plait.clusters.tasks import tasks_of
from plait.estimates.estimate import DARING, RISK
from plait.plans.differences import differing
from plait.plans.plan import Plan
from plait.plans.prediction import Terms
from plait.specs.cluster import ClusterSpec, GroupSpec
from plait.units import Bytes, Seconds
from tests.clusters.jobs import SMALL, job, on_rtx_4090, unequal


def term(terms: Terms, words: str) -> float:
    """The term that a sentence names."""
    if "bubble" in words:
        return terms.bubble
    if words.endswith("communication"):
        return terms.exposed[words.split()[0]]
    if "transfers between stages" in words:
        return terms.exposed["pipeline"]
    return terms.optimizer if "optimizer" in words else terms.compute


@pytest.mark.parametrize(
    "asked", [job(16), job(16, tensor=2, pipeline=2), job(8, zero=3), unequal(), unequal(microbatch=4)]
)
def test_what_is_named_is_larger_than_the_best_plan_s_and_alone_enough(asked):
    found = plan_cluster(asked)
    best, *losers = found.plans
    told = 0
    for one in losers:
        words = str(one.lost_because)
        if words.startswith(("as fast as the best", "no single reason")):
            continue
        told += 1
        if "rows are not dealt out" in words:
            dealt = replace(one.plan, data_shares=best.plan.data_shares)
            assert price_plan(asked, dealt).seconds <= best.found.seconds * (1 + 1e-9)
            continue
        own, rivals = term(one.found.terms, words), term(best.found.terms, words)
        assert own > rivals
        assert one.found.seconds - (own - rivals) <= best.found.seconds * (1 + 1e-9)
    assert told


def test_communication_that_both_pay_is_no_reason():
    """Two plans of the same axes, the second with smaller operations: its sums over data were there before."""
    asked = job(16, tensor=1, pipeline=1, zero=1, context=1, recompute="none")
    best = plan_cluster(asked).best.found
    other = price_plan(asked, replace(best.plan, microbatch=1))
    sums = best.terms.exposed["data"]
    dear = replace(other, terms=replace(other.terms, exposed={**other.terms.exposed, "data": sums}))
    assert sums > 0
    assert not any("communication" in reason.words for reason in reasons(dear, best))
    assert "compute +" in why_it_lost(other, best)


def beside_the_best(asked, **change):
    """The best plan of a search, the same with some of its keys changed, and why that one lost."""
    found = plan_cluster(asked)
    other = price_plan(asked, replace(found.best.plan, **change))
    return found.best, other, reasons(other, found.best.found)


def test_offload_is_blamed_for_its_copies_and_its_updates_on_the_hosts():
    best, other, (reason, *others) = beside_the_best(job(8), offload="optimizer")
    assert re.fullmatch(r"offload's copies and its updates in host memory: optimizer \+\d+%", reason.words)
    assert reason.without == pytest.approx(best.found.seconds)
    assert (reason.own, others) == (other.terms.optimizer, [])
    _, _, (whole, *_) = beside_the_best(job(8, offload="optimizer", zero=1), zero=0)
    assert whole.words.startswith("more weights on a rank to update: optimizer +")


@pytest.mark.parametrize("shares", [(1,) * 8, (1, 2, 3, 4, 5, 6, 7, 36), (4,) * 4 + (12,) * 4])
def test_of_unequal_machines_uneven_rows_are_blamed(shares):
    best, other, (reason, *others) = beside_the_best(unequal(pipeline=1, tensor=1), data_shares=shares)
    assert best.plan.data_shares == (12,) * 4 + (4,) * 4
    names = "equal data shares" if len(set(shares)) == 1 else f"data shares {' : '.join(map(str, shares))}"
    more = f"{other.seconds / best.step_seconds - 1:.0%}"
    assert reason.words == f"{names}: rows are not dealt out by speed +{more}"
    assert reason.without == pytest.approx(best.step_seconds)
    assert others == []


def test_what_uneven_rows_wait_for_on_the_tensor_axis_is_theirs_and_counted_once():
    asked = unequal(pipeline=1, tensor=2, microbatch=2, sequence_parallel=True)
    best, other, found = beside_the_best(asked, data_shares=(1, 1, 3, 3))
    assert other.terms.exposed["tensor"] > best.found.terms.exposed["tensor"] > 0
    assert found[0].words.startswith("data shares 1 : 1 : 3 : 3: rows are not dealt out by speed +")
    assert sum(one.own - one.rivals for one in found) <= 1.01 * (other.seconds - best.step_seconds)


def test_rows_of_replicas_of_a_pipeline_are_counted_and_blamed():
    asked = unequal(pipeline=4, tensor=1, schedule="1f1b")
    best, other, found = beside_the_best(asked, data_shares=(3, 1))
    assert other.rounds == pytest.approx(1.5 * best.found.rounds)
    assert found[0].words.startswith("data shares 3 : 1: rows are not dealt out by speed +")
    assert found[0].without == pytest.approx(best.step_seconds, rel=0.02)  # but for its transfers


@pytest.mark.parametrize("blocks", [(1, 7), (7, 1)])
def test_an_axis_crosses_a_node_where_its_own_group_s_nodes_end(blocks):
    """Four A100 on one host, four H100 on two; what is told is of the stage with most layers."""
    groups = (
        GroupSpec(device="a100-80gb", devices_per_node=4),
        GroupSpec(device="h100-80gb", nodes=2, devices_per_node=2),
    )
    asked = replace(unequal(), cluster=ClusterSpec(groups=groups, ranks=8))
    one = price_plan(asked, Plan(tensor=4, pipeline=2, stages=blocks, tensor_shares=(1,) * 4, data_shares=(1,)))
    (words,) = [reason.words for reason in reasons(one, plan_cluster(asked).best.found) if "tensor 4" in reason.words]
    assert words.startswith("tensor 4 crosses the node: +" if blocks == (1, 7) else "tensor 4: +")


@pytest.mark.parametrize("names", [("h100-80gb", "rtx-4090"), ("rtx-4090", "h100-80gb")])
def test_of_unequal_machines_the_rank_dies_first_that_lacks_the_most_of_its_own_memory(names):
    """H100s need twice what they have and more, RTX 4090s several times that, which are fewer bytes."""
    groups = tuple(GroupSpec(device=name, devices_per_node=4) for name in names)
    model = replace(SMALL, layers=60, hidden=8192, ffn=32768)
    asked = replace(unequal(), model=model, cluster=ClusterSpec(groups=groups, ranks=8))
    fast, slow = (names.index(name) for name in ("h100-80gb", "rtx-4090"))
    stages = (40, 20) if fast == 0 else (20, 40)
    plan = Plan(data=4, pipeline=2, stages=stages, tensor_shares=(1,), data_shares=(1,) * 4, zero=1)
    one = price_plan(asked, plan)
    assert one.memory[fast].risk == one.memory[slow].risk
    assert one.memory[fast].taken > one.memory[slow].taken
    words = f"rank {4 * slow} dies first: it needs {Bytes(one.memory[slow].taken)} of the 23.6 GiB that rtx-4090 has"
    assert too_large(one, tasks_of(asked)).startswith(words)


def test_context_is_advised_where_it_has_a_price_alone():
    training = replace(unequal().training, sequence_length=65536)
    model = replace(SMALL, vocab=1000, max_positions=65536)
    plan = Plan(data=4, pipeline=2, stages=(4, 4), microbatch=8, tensor_shares=(1,), data_shares=(1,) * 4)
    for asked, axes in ((job(8), "tensor, context or pipeline"), (unequal(), "tensor or pipeline")):
        asked = replace(asked, training=training, model=model)
        words = too_large(price_plan(asked, plan), tasks_of(asked))
        assert "dies first" in words
        assert "most of it activations" in words
        assert f"a smaller microbatch, more {axes} ranks, or shorter sequences" in words


def test_operations_that_are_slower_name_what_is_another():
    found = plan_cluster(unequal())
    best = found.best.found
    for one in found.plans[1:]:
        for reason in reasons(one.found, best):
            if "its operations and their sums" in reason.words:
                names = reason.words.partition(":")[0].split(", ")
                assert set(names) <= set(differing(one.plan, best.plan))


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

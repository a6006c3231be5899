"""What is said of a plan, of the obvious ones, and of another machine, is what the simulator and the search say."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from plait.errors import NothingFits
from plait.planner import communication_cost, contest
from plait.planner.changes import changes
from plait.planner.explain import why_it_lost
from plait.planner.obvious import explained, explained_outside, obvious_losers
from plait.planner.prices import JobPrices
from plait.planner.search import search
from plait.planner.simulator import play, played
from plait.plans.plan import Plan
from plait.specs.catalogue import ASSUMED, speed_between
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.links import LinkSpeed
from tests.planner.machines import machine, room_for
from tests.planner.test_search import MODEL, TRAINING

SLOW_LINK = machine(latency=1e-4, link=1e7, dispatch=2e-6)


def job(ranks=8, **constraints):
    return Job(model=MODEL, training=TRAINING, cluster=ClusterSpec(ranks=ranks), constraints=constraints)


def test_each_obvious_plan_has_its_fate():
    asked, plans = job(), search(job(), SLOW_LINK)
    told = {one.name: one for one in obvious_losers(asked, plans)}
    assert told["tensor 8"].why == "not legal: tensor = 8 exceeds the 4 heads"
    assert told["pipeline 8"].why.startswith("not legal: pipeline = 8 exceeds the 4 layers")
    prices = JobPrices(MODEL, TRAINING, SLOW_LINK)
    for one in told.values():
        if one.plan is not None:
            assert one.step_seconds == played(one.plan, prices).step.seconds
            assert one.step_seconds >= plans.best.prediction.step_seconds * (1 - 1e-9)
            (ranked,) = [other for other in plans.plans if other.plan == one.plan]
            assert one.why == ranked.lost_because


def test_an_obvious_plan_that_is_too_large_says_so():
    asked, roomy = job(2), search(job(2), machine())
    alone = min(max(one.prediction.memory_bytes) for one in roomy.plans if one.plan.data == 2)
    plans = search(asked, machine(memory=alone - 1))
    told = {one.name: one.why for one in obvious_losers(asked, plans)}
    assert told["data 2"] == "too large for the memory, whatever its microbatch"


def test_what_explains_a_plan_makes_it_win():
    plans = search(job(), SLOW_LINK)
    prices = JobPrices(MODEL, TRAINING, SLOW_LINK)
    for place in (1, 5, len(plans.plans) - 1):
        one = explained(plans, plans.plans[place])
        assert one.lost_because == plans.plans[place].lost_because
        best = plans.best.prediction.step_seconds
        assert one.beside_seconds == best
        winning = [reason.words for reason in one.reasons if reason.without <= best * (1 + 1e-9)]
        assert bool(winning) == (one.lost_because in winning) or one.lost_because.startswith("as fast as")
        found = played(one.plan, prices)
        winner = played(plans.best.plan, prices)
        along_data = r"data \d+: exposed communication \+|.*: exposed communication along data"
        for reason in (one for one in one.reasons if re.match(along_data, one.words)):
            assert reason.own == found.step.seconds - play(found.plan, found.cost.without("data"), prices).seconds
            paid = winner.step.seconds - play(winner.plan, winner.cost.without("data"), prices).seconds
            assert reason.rivals == pytest.approx(paid)
    assert explained(plans, plans.best).lost_because is None
    assert explained(plans, plans.best).beside_seconds == plans.plans[1].prediction.step_seconds


def test_a_plan_that_was_not_played_is_played_to_be_explained():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contest, "_ACTIONS", 0)
        plans = search(job(), SLOW_LINK, sure=1)
    last = plans.plans[-1]
    assert not last.played
    assert not explained(plans, last).lost_because.startswith("not played")


def test_what_would_change_is_found_by_searching():
    asked = job(4)
    plans = search(asked, SLOW_LINK)
    told = {one.change: one for one in changes(asked, SLOW_LINK, plans)}
    assert set(told) == {"links twice as fast", "links half as fast", "twice the memory", "half the memory"}
    for change, other in (
        ("links twice as fast", machine(latency=5e-5, link=2e7, dispatch=2e-6)),
        ("links half as fast", machine(latency=2e-4, link=5e6, dispatch=2e-6)),
    ):
        best = search(asked, other).best
        assert told[change].plan == best.plan
        assert told[change].step_seconds == pytest.approx(best.prediction.step_seconds)
    assert told["links twice as fast"].step_seconds < plans.best.prediction.step_seconds
    assert not told["twice the memory"].changes


def on_two_hosts(link=None):
    return replace(job(4), cluster=ClusterSpec(ranks=4, nodes=2, inter_link=link))


def with_links_between(factor, link=3e6):
    """`SLOW_LINK` with all its links so many times as fast, measured between hosts as well."""
    inside = machine(latency=1e-4 / factor, link=1e7 * factor, dispatch=2e-6)
    across = tuple(
        replace(one, hosts=2, alpha0=5e-4 / factor, bytes_per_second=link * factor, burst=1e3, overhead=3e-4)
        for one in machine(backend="nccl").collectives
    )
    within = tuple(replace(one, backend="nccl") for one in inside.collectives)
    return replace(inside, collectives=(*within, *across))


def test_measured_links_between_hosts_are_changed_too():
    asked = on_two_hosts()
    plans = search(asked, with_links_between(1.0))
    assert plans.best.prices.machine.communication.source == "measured"
    told = {one.change: one for one in changes(asked, with_links_between(1.0), plans)}
    for change, factor in (("links twice as fast", 2.0), ("links half as fast", 0.5)):
        best = search(asked, with_links_between(factor)).best
        assert told[change].plan == best.plan
        assert told[change].step_seconds == pytest.approx(best.prediction.step_seconds)
    assert told["links twice as fast"].step_seconds < 0.8 * plans.best.prediction.step_seconds


@pytest.mark.parametrize("link", ["ethernet-10mbit", None], ids=["declared", "assumed"])
def test_a_link_between_hosts_that_nobody_measured_is_changed_too(link, monkeypatch):
    measurements = machine(latency=0.0, link=1e18, dispatch=2e-6)  # so that nothing but the link between hosts counts
    plans = search(on_two_hosts(link), measurements)
    told = {one.change: one for one in changes(on_two_hosts(link), measurements, plans)}
    known = speed_between(link or ASSUMED)
    for change, factor in (("links twice as fast", 2.0), ("links half as fast", 0.5)):
        other = LinkSpeed(alpha=known.alpha / factor, bytes_per_second=known.bytes_per_second * factor)
        monkeypatch.setattr(communication_cost, "speed_between", lambda name, other=other: other)
        best = search(on_two_hosts(link), measurements).best
        assert told[change].plan == best.plan
        assert told[change].step_seconds == pytest.approx(best.prediction.step_seconds)
    fast, slow = (told[f"links {how} as fast"].step_seconds for how in ("twice", "half"))
    assert fast < 0.99 * plans.best.prediction.step_seconds < 0.98 * slow


def test_a_plan_of_one_s_own_is_laid_beside_the_best():
    asked, plans = job(), search(job(), SLOW_LINK)
    mine = Plan(
        data=2, tensor=2, pipeline=2, stages=(3, 1), tensor_shares=(1, 1), data_shares=(1, 1), bucket_bytes=4096
    )
    assert mine not in [one.plan for one in plans.plans]
    one = explained_outside(mine, asked, plans)
    assert one.step_seconds == played(mine, JobPrices(MODEL, TRAINING, SLOW_LINK)).step.seconds
    assert one.beside_seconds == plans.best.prediction.step_seconds
    assert one.fits
    assert one.lost_because == why_it_lost(played(mine, plans.best.prices), plans.best.rival)
    again = explained_outside(plans.plans[2].plan, asked, plans)
    assert again.lost_because == plans.plans[2].lost_because


def test_a_plan_of_one_s_own_that_is_faster_says_what_the_job_fixes():
    free, asked = search(job(), SLOW_LINK), job(microbatch=8, schedule="gpipe")
    one = explained_outside(free.best.plan, asked, search(asked, SLOW_LINK))
    assert re.fullmatch(
        r'\d+\.\d% faster than the best, which keeps what the job fixes: microbatch = 8, schedule = "gpipe"',
        one.lost_because,
    )


def test_a_plan_of_one_s_own_that_is_too_large_says_of_what():
    asked = job(2)
    plans = search(asked, machine())
    least = min(max(one.prediction.memory_bytes) for one in plans.plans)
    tight = search(asked, machine(memory=room_for(least)))
    large = Plan(data=2, stages=(4,), data_shares=(1, 1), microbatch=4)
    one = explained_outside(large, asked, tight)
    assert not one.fits
    assert one.lost_because.startswith("rank 0 dies first: it needs ")


def test_half_the_memory_may_be_too_little():
    asked = job(1, microbatch=1)
    least = search(asked, machine()).best.prediction.memory_bytes[0]
    tight = machine(memory=room_for(least))
    with pytest.raises(NothingFits):
        search(asked, replace(tight, host=replace(tight.host, memory_bytes=least // 2)))
    (half,) = [one for one in changes(asked, tight, search(asked, tight)) if one.change == "half the memory"]
    assert half.plan is None
    assert half.changes

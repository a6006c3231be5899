"""Every reason is true: with it taken away from both plans the winner would not be ahead. What the winner pays as well
is none, and where none alone is enough, that is what is said."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from plait.planner import explain
from plait.planner.explain import Rival, reasons, why_it_lost
from plait.planner.obvious import explained_outside
from plait.planner.prices import JobPrices
from plait.planner.search import search
from plait.planner.simulator import play, played
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from tests.planner.machines import machine
from tests.planner.test_search import MODEL, TRAINING

MACHINES = {
    "own devices": machine(latency=1e-5),
    "two cores": machine(latency=1e-5, cores=2),
    "slow link": machine(latency=1e-4, link=1e7, dispatch=2e-6),
    "unlike ranks": replace(machine(flops=1e9, latency=1e-6), speeds=(1.0, 1.0, 0.5, 0.7)),
    "quick link": machine(latency=1e-7, link=1e12, dispatch=2e-6),
}


def contest(measurements, ranks=4, model=MODEL, **constraints):
    """The prices, and every plan of a search as it was played, best first."""
    job = Job(model=model, training=TRAINING, cluster=ClusterSpec(ranks=ranks), constraints=constraints)
    prices = JobPrices(model, TRAINING, measurements)
    ranked = search(job, measurements).plans
    return prices, [(one, played(one.plan, prices)) for one in ranked]


@pytest.mark.parametrize("measurements", MACHINES.values(), ids=MACHINES.keys())
def test_without_its_reason_each_loser_wins(measurements):
    prices, ranked = contest(measurements)
    (_, winner), *losers = ranked
    rival = Rival(winner, prices)
    fastest, told = winner.step.seconds, 0
    for one, loser in losers:
        found = reasons(loser, rival)
        assert all(reason.own > reason.rivals for reason in found)
        words = one.lost_because
        if words.startswith("as fast as the best"):
            assert loser.step.seconds <= fastest * 1.001
        elif words.startswith("no single reason"):
            assert all(reason.without > fastest * (1 + 1e-9) for reason in found)
        else:
            (reason,) = [reason for reason in found if reason.words == words]
            assert reason.without <= fastest * (1 + 1e-9)
            assert reason.without == min(other.without for other in found)
            told += 1
    assert told > 0


@pytest.mark.parametrize("measurements", MACHINES.values(), ids=MACHINES.keys())
def test_an_axis_that_is_blamed_costs_the_winner_less(measurements):
    prices, ranked = contest(measurements)
    (_, winner), *losers = ranked
    blamed = 0
    for one, loser in losers:
        words = r"(?:(data|tensor|pipeline) \d+: exposed communication|.*: exposed communication along (\w+)) \+.*"
        if not one.lost_because.startswith("no single") and (found := re.fullmatch(words, one.lost_because)):
            blamed += 1
            axis = found[1] or found[2]
            silent, rival = (play(each.plan, each.cost.without(axis), prices).seconds for each in (loser, winner))
            assert silent <= rival * (1 + 1e-9)  # with that axis for nothing in both, it would not have lost
            if axis != "pipeline":  # whose transfers stand in the bubble
                assert loser.step.terms.exposed[axis] > winner.step.terms.exposed[axis]
    assert blamed or measurements in (MACHINES["quick link"], MACHINES["unlike ranks"])  # where it hides


@pytest.mark.parametrize("name", ["own devices", "slow link", "quick link"])
def test_each_of_the_largest_reasons_taken_away_from_both_shrinks_the_gap_by_what_it_says(name):
    prices, ranked = contest(MACHINES[name], 8)
    (_, winner), *losers = ranked

    def seconds(one, words):
        if "bubble" in words:  # no rank waits for another: each has a device of its own
            ends = [one.cost.working(place) + rank.slowed + rank.data for place, rank in enumerate(one.cost.ranks)]
            rest = one.cost.tensor_sums + one.cost.pipeline_sums + one.cost.optimizer + one.cost.renewal
            return max(ends) + rest if one.plan.pipeline > 1 else one.step.seconds
        axis = re.search(r"along (\w+)", words) or re.search(r"(\w+) \d+: exposed", words)
        return play(one.plan, one.cost.without(axis[1]), prices).seconds

    bubbles = exposed = 0
    for one, loser in losers:
        if not one.lost_because.startswith("no single reason; the largest: "):
            continue
        for reason in reasons(loser, Rival(winner, prices))[:2]:
            if "bubble" in reason.words or "exposed" in reason.words:
                bubbles += "bubble" in reason.words
                exposed += "exposed" in reason.words
                shrunk = seconds(loser, reason.words) - seconds(winner, reason.words)
                assert shrunk == pytest.approx(reason.without - winner.step.seconds)
    assert bubbles
    assert exposed or name == "quick link"


def test_what_the_winner_pays_as_well_is_no_reason():
    """Both have two replicas and the same gradients; the loser's operations are smaller."""
    prices, ranked = contest(machine(latency=1e-3, link=1e8, dispatch=2e-6), 2, tensor=1, pipeline=1, zero=0)
    (best, winner), (second, loser), *_ = ranked
    assert (best.plan.data, second.plan.data) == (2, 2)
    assert second.plan.microbatch < best.plan.microbatch
    exposed = loser.step.seconds - play(loser.plan, loser.cost.without("data"), prices).seconds
    assert exposed > loser.step.seconds - winner.step.seconds > 0  # so that all of it would have been enough
    assert second.lost_because.startswith(f"microbatch {second.plan.microbatch}: smaller operations, ")
    assert ", compute +" in second.lost_because
    assert not any("exposed" in reason.words for reason in reasons(loser, Rival(winner, prices)))


def test_a_winner_s_own_costs_are_played_once():
    _, ranked = contest(MACHINES["own devices"], data=2, pipeline=2)
    (best, _), *losers = ranked
    rival, counted = best.rival, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explain, "play", lambda plan, *rest: counted.append(plan) or play(plan, *rest))
        for _, loser in losers:
            reasons(loser, rival)
    assert len(losers) > 4
    assert counted.count(best.plan) <= 3


def test_a_reason_is_played_not_guessed():
    prices, ranked = contest(MACHINES["slow link"], 2, tensor=2)
    other = played(replace(ranked[0][1].plan, tensor=1, pipeline=2, stages=(2, 2), tensor_shares=(1,)), prices)
    slowed = ranked[0][1]
    found = reasons(slowed, Rival(other, prices))
    (reason,) = [one for one in found if one.words.startswith("tensor 2: exposed")]
    assert reason.without == pytest.approx(play(slowed.plan, slowed.cost.without("tensor"), prices).seconds)
    assert reason.without < slowed.step.seconds


def test_a_dear_tensor_axis_is_blamed():
    _, ranked = contest(machine(latency=1e-3, link=1e12), 2)
    words = [one.lost_because for one, _ in ranked if one.plan.tensor == 2]
    assert words
    assert all("tensor 2: exposed communication +" in text for text in words)


def test_a_bubble_is_blamed_with_its_size():
    # one microbatch on two stages that nothing but the wait tells apart from data parallelism
    model = replace(MODEL, vocab=4)
    _, ranked = contest(machine(latency=0.0, link=1e15), 2, model=model, microbatch=4)
    simple = [one for one, _ in ranked if one.plan.schedule in ("gpipe", "1f1b")]
    words = [one.lost_because for one in simple if one.plan.pipeline == 2]
    assert words
    assert all("pipeline 2: bubble 3" in text for text in words)  # 2 microbatches: a third of the step, and a little
    assert all("at 2 microbatches" in text for text in words)


def test_smaller_operations_are_blamed_where_dispatch_counts():
    _, ranked = contest(machine(dispatch=1e-4), 1)
    assert [one.plan.microbatch for one, _ in ranked] == [8, 4, 2, 1]
    assert all(
        one.lost_because.startswith(f"microbatch {one.plan.microbatch}: smaller operations, ") for one, _ in ranked[1:]
    )


def beside_the_best(change, measurements, ranks=2, **constraints):
    """The best plan of a search, and what is said of it with some of its keys changed."""
    keys = {"tensor": 1, "pipeline": 1, "microbatch": 1, "zero": 1, **constraints}
    asked = Job(model=MODEL, training=TRAINING, cluster=ClusterSpec(ranks=ranks), constraints=keys)
    plans = search(asked, measurements)
    return plans.best, explained_outside(replace(plans.best.plan, **change), asked, plans)


@pytest.mark.parametrize("zero", range(4))
@pytest.mark.parametrize("pipeline", [1, 2])
def test_uneven_rows_are_blamed_and_even_ones_win(zero, pipeline):
    best, one = beside_the_best(
        {"data_shares": (7, 1)}, MACHINES["own devices"], 2 * pipeline, zero=zero, pipeline=pipeline
    )
    assert re.fullmatch(r"data shares 7 : 1: the last replica to end has 7 of 8 sequences, \+\d\d%", one.lost_because)
    first = one.reasons[0]
    # under ZeRO 3 a microbatch is priced with its part of the weights that a step fetches, which varies with how many
    assert first.without == pytest.approx(best.step_seconds, rel=5e-3 if zero == 3 else 1e-6)
    assert first.words.endswith(f"+{(first.own - first.rivals) / best.step_seconds:.0%}")


def test_rows_that_no_deal_makes_even_are_told_beside_fewer_ranks():
    best, one = beside_the_best({"data": 3, "data_shares": (1, 1, 1)}, MACHINES["own devices"], 4)
    (rows,) = [reason for reason in one.reasons if "sequences" in reason.words]
    assert rows.words.startswith("data 3: the last replica to end has 3 of 8 sequences, +")
    work = played(one.plan, best.prices).cost.working(0)
    assert rows.own == pytest.approx(work * (3 - 8 / 3) / 3)


@pytest.mark.parametrize(("shares", "rows"), [((1, 1), 4), ((1, 3), 6)])
def test_rows_that_ignore_speeds_are_a_reason_and_so_are_the_speeds(shares, rows):
    unlike = replace(machine(latency=1e-5), speeds=(1.0, 0.5))
    best, one = beside_the_best({"data_shares": shares}, unlike)
    assert best.plan.data_shares != (1, 1)
    words = [reason.words for reason in one.reasons if reason.without <= best.step_seconds]
    assert len(words) == 2
    assert words[0] == f"data rank 1 computes at half the speed: it takes {rows} of 8 sequences"
    assert f"shares{' 1 : 3' * (rows == 6)}: the last replica to end has {rows} of 8 sequences, +" in words[1]


def test_ranks_that_only_serve_are_told_with_what_the_others_compute():
    changed = {"synchronisation": "parameter-server", "servers": 2, "zero": 0}
    best, one = beside_the_best(changed, machine(latency=0.0, link=1e15), 4)
    first = one.reasons[0]
    assert first.words == "parameter-server, servers 2: 2 replicas in place of 4: compute of each +100%"
    half, all_ = (played(replace(one.plan, servers=servers), best.prices).cost for servers in (2, 0))
    assert first.without == pytest.approx(play(one.plan, replace(half, rounds=all_.rounds), best.prices).seconds)
    assert first.own == pytest.approx(half.working(0) / 2)
    _, three = beside_the_best({**changed, "servers": 1}, machine(latency=0.0, link=1e15), 4)
    serves, *others = three.reasons
    (rows,) = [reason for reason in others if "sequences" in reason.words]
    assert serves.words == "parameter-server, servers 1: 3 replicas in place of 4: compute of each +33%"
    assert rows.words.startswith("servers 1: the last replica to end has 3 of 8 sequences, +")


def test_equal_plans_are_called_equal():
    prices, ranked = contest(machine(), 1)
    best = ranked[0][1]
    assert why_it_lost(best, Rival(best, prices)) == "as fast as the best, within 0.1%"

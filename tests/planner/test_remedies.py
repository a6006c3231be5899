"""What is said where nothing fits: the rank that dies first, and the first change of each kind with which something
would, whoever knows what ranks hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.planner.remedies import Change, Smallest, dies_first, freed, shorter, unsafe, why_nothing_fits
from plait.plans.plan import Plan
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from tests.planner.test_search import MODEL, TRAINING

GIB = 2**30
ASKED = Job(model=MODEL, training=TRAINING, cluster=ClusterSpec(ranks=4), constraints={"zero": 0, "data": 4})
TOO_LARGE = Smallest(
    plan=Plan(data=4, data_shares=(1, 1, 1, 1), stages=(4,)), risk=1.0, rank=3, held=12 * GIB, kind="optimizer",
    most=9 * GIB, fewer="sgd", room=8 * GIB, whose="a device has",
)  # fmt: skip
FITS = replace(TOO_LARGE, risk=0.0, held=6 * GIB)
MAY_FIT = replace(TOO_LARGE, risk=0.32, held=7 * GIB)


def said(kinds, found):
    """With what is found for each changed job, by its words."""
    words = {id(change.job): change.words for kind in kinds for change in kind}
    return why_nothing_fits(ASKED, TOO_LARGE, kinds, lambda job: found.get(words[id(job)])).partition(
        "; fewer with sgd; "
    )[2]


def change(words, key="", **parts):
    return Change(replace(ASKED, **parts), words, key)


def test_the_rank_that_dies_first_and_what_fills_it():
    words = (
        "rank 3 dies first: it needs 12 GiB of the 8 GiB that a device has, most of it optimizer: 9 GiB; fewer with sgd"
    )
    assert dies_first(TOO_LARGE) == words
    shared = replace(TOO_LARGE, together=40 * GIB, whose="they share")
    assert dies_first(shared).startswith(
        "all ranks together need 40 GiB of the 8 GiB that they share; rank 3 dies first: it needs 12 GiB, "
    )


def test_what_may_be_enough_is_not_said_to_die():
    words = dies_first(replace(TOO_LARGE, risk=0.32, held=7 * GIB))
    assert words.startswith(
        "rank 3 may run out of memory (32%): it needs 7 GiB of the 8 GiB that a device has, most of"
    )
    assert "; rank 3 may run out of memory (32%): it needs 7 GiB, " in dies_first(
        replace(TOO_LARGE, risk=0.32, held=7 * GIB, together=25 * GIB, room=26 * GIB, whose="they share")
    )


def test_the_safest_of_the_proposed_is_named_with_what_it_costs():
    plan = FITS.plan
    steps = (2.0, 3.0, 3.5)

    def said_of(*risks):
        proposed = [(replace(plan, microbatch=place + 1), risk) for place, risk in enumerate(risks)]
        return unsafe(proposed, lambda place: steps[place]).partition("no plan is safe: the best one ")[2]

    assert said_of(0.376, 0.374, 0.32) == (
        "runs out of memory with a probability of 38%, and the safest that is proposed, plan 3 (data 4, microbatch 3), "
        "with one of 32%: it takes 3.5 s a step (+75%)"
    )
    assert "plan 2 (data 4, microbatch 2), with one of 20%" in said_of(0.3, 0.2, 0.2)
    for risks in ((0.3,), (0.3, 0.4, 0.35), (0.302, 0.299)):
        assert said_of(*risks).endswith("30%, and of the others that are proposed none is safer by a whole percent")


def test_the_first_of_each_kind_that_fits_is_advised():
    kinds = ((change("a"), change("b"), change("c")), (change("d"),), (change("e"),))
    found = {"a": TOO_LARGE, "b": FITS, "c": FITS, "e": FITS}
    assert (
        said(kinds, found) == "the nearest change of each kind that would fit: b: 6 GiB of 8 GiB; or e: 6 GiB of 8 GiB"
    )


def test_a_change_that_is_not_safe_says_so_and_the_first_safe_one_of_its_kind_stands_before_it():
    kinds = ((change("a"), change("b"), change("c"), change("d")),)
    found = {"a": TOO_LARGE, "b": MAY_FIT, "c": replace(MAY_FIT, seconds=2.0), "d": replace(FITS, seconds=3.0)}
    assert said(kinds, found) == (
        "the nearest change of each kind that would fit: d: 6 GiB of 8 GiB, 3 s a step; that might fit: "
        "b: 7 GiB of 8 GiB, may run out of memory (32%)"
    )
    assert said(kinds, {"c": replace(MAY_FIT, seconds=2.0, bound=True)}) == (
        "the nearest change of each kind that might fit: c: 7 GiB of 8 GiB, at most 2 s a step, "
        "may run out of memory (32%)"
    )


def test_what_asks_for_least_comes_first_and_of_these_the_fastest_by_its_tokens():
    more = replace(ASKED.cluster, ranks=8)
    half, quarter = (replace(TRAINING, sequence_length=TRAINING.sequence_length // part) for part in (2, 4))
    kinds = ((change("half", training=half),), (change("quarter", training=quarter),), (change("8", cluster=more),),
             (change("ten", cluster=more),), (change("key"),))  # fmt: skip
    steps = {"half": 3.0, "quarter": 2.0, "8": 5.0, "ten": 4.0, "key": 9.0}
    told = said(kinds, {words: replace(FITS, seconds=seconds) for words, seconds in steps.items()})
    _, _, told = told.partition("would fit: ")
    assert [one.partition(":")[0] for one in told.split("; or ")] == ["key", "ten", "8", "half", "quarter"]


def test_a_key_left_open_is_advised_by_its_value():
    sharded = replace(FITS, plan=replace(FITS.plan, zero=3))
    assert "plan.zero = 3: 6 GiB" in said(((change("zero left open", "zero"),),), {"zero left open": sharded})


def test_where_none_fits_the_nearest_is_told_by_the_share_of_its_room():
    kinds = ((change("a"), change("b")),)
    larger = replace(TOO_LARGE, held=18 * GIB, room=16 * GIB)
    found = {"a": TOO_LARGE, "b": larger}
    assert said(kinds, found) == "nothing that was tried would fit; nearest comes b: 18 GiB of 16 GiB"
    assert said(kinds, {}) == "nothing that was tried would fit"


def test_keys_are_left_open_one_by_one():
    changed = list(freed(ASKED, ("zero", "microbatch", "data")))
    assert [one.key for one in changed] == ["zero", "data"]
    assert [dict(one.job.constraints) for one in changed] == [{"data": 4}, {"zero": 0}]


@pytest.mark.parametrize(("length", "halves"), [(8, [4, 2, 1]), (1, [])])
def test_sequences_are_halved_down_to_a_token(length, halves):
    asked = replace(ASKED, training=replace(TRAINING, sequence_length=length))
    assert [one.job.training.sequence_length for one in shorter(asked)] == halves

"""What is said where nothing fits: the rank that dies first, and the first change of each kind with which something
would, whoever knows what ranks hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.planner.remedies import Change, Smallest, dies_first, freed, shorter, why_nothing_fits
from plait.plans.plan import Plan
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from tests.planner.test_search import MODEL, TRAINING

GIB = 2**30
ASKED = Job(model=MODEL, training=TRAINING, cluster=ClusterSpec(ranks=4), constraints={"zero": 0, "data": 4})
TOO_LARGE = Smallest(
    plan=Plan(data=4, data_shares=(1, 1, 1, 1), stages=(4,)), fits=False, rank=3, held=12 * GIB, kind="optimizer",
    most=9 * GIB, fewer="sgd", room=8 * GIB, whose="a device has",
)  # fmt: skip
FITS = replace(TOO_LARGE, fits=True, held=6 * GIB)


def said(kinds, found):
    """With what is found for each changed job, by its words."""
    words = {id(change.job): change.words for kind in kinds for change in kind}
    return why_nothing_fits(TOO_LARGE, kinds, lambda job: found.get(words[id(job)])).partition("; fewer with sgd; ")[2]


def change(words, key=""):
    return Change(replace(ASKED), words, key)


def test_the_rank_that_dies_first_and_what_fills_it():
    words = (
        "rank 3 dies first: it needs 12 GiB of the 8 GiB that a device has, most of it optimizer: 9 GiB; fewer with sgd"
    )
    assert dies_first(TOO_LARGE) == words
    shared = replace(TOO_LARGE, together=40 * GIB, whose="they share")
    assert dies_first(shared).startswith(
        "all ranks together need 40 GiB of the 8 GiB that they share; rank 3 dies first: it needs 12 GiB, "
    )


def test_the_first_of_each_kind_that_fits_is_advised():
    kinds = ((change("a"), change("b"), change("c")), (change("d"),), (change("e"),))
    found = {"a": TOO_LARGE, "b": FITS, "c": FITS, "e": FITS}
    assert said(kinds, found) == "the nearest change that would fit: b: 6 GiB of 8 GiB; or e: 6 GiB of 8 GiB"


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

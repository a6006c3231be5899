"""What hides what: pieces played one by one, groups counted in schedules, and each end of a split layer by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.estimates.overlap import Product, entering, in_pieces, late, leaving, travelling
from plait.estimates.practice import Practice
from plait.estimates.step import times
from plait.schedules.action import Kind
from plait.schedules.registry import build_schedule
from tests.estimates.arranged import GPT, arranged, machines, task

SECONDS = st.floats(min_value=1e-3, max_value=1e3)
PRODUCT, OTHER = Product(*map(np.array, ([2.0], [3.0], [5.0]))), Product(*map(np.array, ([4.0], [6.0], [7.0])))
PIPELINED = Practice(pipelined_tensor=True)
OWN_ALONE = Practice(waiting_weights=False)
SHOWN = Practice(overlap_tensor=False)
SPLIT, WHOLE = (arranged(tensor=4, sequence_parallel=one) for one in (True, False))


def played(transfers: float, work: float, pieces: int) -> float:
    """What is left to wait for when the work is done: a piece of the transfers leaves as soon as its work is done and
    the piece before it has arrived."""
    arrived = 0.0
    for piece in range(pieces):
        arrived = max(arrived, (piece + 1) * work / pieces) + transfers / pieces
    return arrived - work


@given(SECONDS, SECONDS, st.integers(min_value=1, max_value=40))
def test_pieces_are_late_as_if_they_were_played(transfers, work, pieces):
    found = in_pieces(np.array([transfers]), np.array([work]), np.array([pieces]))
    assert found[0] == pytest.approx(played(transfers, work, pieces), rel=1e-9, abs=1e-9 * (transfers + work))
    assert late(np.array([transfers]), np.array([work]))[0] <= found[0] * (1 + 1e-12)


@pytest.mark.parametrize(("pipeline", "stages"), [(2, 2), (4, 2), (4, 3), (8, 2)])
@pytest.mark.parametrize("more", [0, 1, 3])
def test_sums_of_interleaved_stages_travel_behind_what_the_schedule_puts_after_them(pipeline, stages, more):
    """Counted in the schedule's own list of actions: backwards of a rank after the first of its stages is done."""
    microbatches = 2 * pipeline + more
    schedule = build_schedule("interleaved", pipeline, microbatches, stages)
    plans = arranged(pipeline=pipeline, virtual_stages=stages, schedule="interleaved")
    group = np.array([(microbatches - 1) % pipeline + 1])
    for program in schedule.programs:
        backwards = [action.stage for step in program for action in step if action.kind is Kind.B]
        done = min(len(backwards) - 1 - backwards[::-1].index(stage) for stage in set(backwards))
        behind = len(backwards) - 1 - done
        assert travelling(plans, np.array([float(stages)]), group)[0] == behind + 1  # a second each, its own one, too


@pytest.mark.parametrize("schedule", ["1f1b", "gpipe", "zb-h1", "zb-v"])
def test_stages_that_are_done_together_hide_their_own_sums_alone(schedule):
    """Of zb-v's two stages at most p - 1 backwards of weights lie between: not counted on."""
    stages = 2 if schedule == "zb-v" else 1
    plans = arranged(pipeline=4, virtual_stages=stages, schedule=schedule)
    assert travelling(plans, np.array([1.0]), np.array([4]))[0] == 1 / stages


def test_what_enters_is_gathered_and_its_gradients_are_summed():
    whole = np.array([8.0])
    assert entering(WHOLE, SHOWN, whole, PRODUCT) == (0, 8, 0)  # every rank has it; an all-reduce of gradients
    assert entering(SPLIT, SHOWN, whole, PRODUCT) == (4, 4, 0)  # an all-gather, a reduce-scatter


def test_what_leaves_is_summed_and_its_gradients_are_gathered():
    whole = np.array([8.0])
    assert leaving(WHOLE, SHOWN, whole, PRODUCT) == (8, 0, 0)
    assert leaving(SPLIT, SHOWN, whole, PRODUCT) == (4, 4, 0)


def test_sums_of_gradients_go_on_while_those_of_weights_are_made():
    whole = np.array([20.0])
    assert entering(WHOLE, OWN_ALONE, whole, PRODUCT, waiting=7) == (0, 15, 5)
    assert entering(WHOLE, Practice(), whole, PRODUCT, waiting=7) == (0, 8, 12)
    assert entering(SPLIT, Practice(), whole, PRODUCT, waiting=7) == (10, 0, 10)


def test_products_in_pieces_hide_transfers_both_ways_under_sequence_parallelism_alone():
    whole = np.array([2.0])
    assert entering(SPLIT, PIPELINED, whole, PRODUCT) == (0.25, 0, 1)  # four pieces of a gather of one second
    assert leaving(SPLIT, PIPELINED, whole, OTHER) == (0.25, 0.25, 0)
    assert leaving(SPLIT, PIPELINED, np.array([12.0]), OTHER) == (6 - 4 * 0.75, 6 - 6 * 0.75, 0)
    assert leaving(WHOLE, PIPELINED, whole, OTHER) == leaving(WHOLE, Practice(), whole, OTHER)
    assert leaving(SPLIT, PIPELINED, whole) == leaving(SPLIT, Practice(), whole)  # without a product


# ---- in a whole step ------------------------------------------------------------------------------------------------


def test_new_weights_are_waited_for_unless_the_next_forward_goes_on_meanwhile():
    plans = arranged(data=8, zero=1)
    waiting, ahead = (times(task(practice=Practice(overlap_gathers=one)), plans).data[0] for one in (False, True))
    assert ahead < 0.7 * waiting


def test_a_deep_pipeline_s_interleaved_stages_hide_sums_behind_each_other():
    """Over slow links, with one microbatch's backward far too short for them."""
    slow = machines()
    slow = replace(slow, inside=replace(slow.inside, peak=slow.inside.peak / 30))
    asked = task(replace(GPT, layers=32), batch=64, machines=slow)
    plans = arranged(2, data=8, pipeline=8, schedule=[0, 2], virtual_stages=[1, 4])
    plain, interleaved = times(asked, plans).data
    assert interleaved < 0.8 * plain


def test_smaller_buckets_leave_less_to_the_end():
    plans = arranged(data=8)
    coarse, fine = (times(task(practice=Practice(bucket_bytes=size)), plans).data[0] for size in (np.inf, 2.0**20))
    assert fine < 0.8 * coarse

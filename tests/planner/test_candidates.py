"""The space of plans: complete, without repetition, and keeping what the job fixes."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest

from plait.planner.candidates import candidates
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from tests.planner.shapes import GPT2, TRAINING

JOB = Job(model=GPT2, training=TRAINING, cluster=ClusterSpec(ranks=4))  # batches of 4 sequences


def test_every_combination_once():
    found = list(candidates(JOB))
    assert not any("offload" in one for one in found)  # only where a job fixes it
    assert len({tuple(sorted(one.items())) for one in found}) == len(found)
    assert all(prod(one[axis] for axis in ("data", "tensor", "pipeline")) == 4 for one in found)
    # 6 arrangements of 4 ranks; 2 schedules for each pipeline, 2 placements for each tensor axis, 4 levels of ZeRO for
    # each data axis: (4,1,1) 4, (2,2,1) 8, (2,1,2) 8, (1,4,1) 2, (1,2,2) 4, (1,1,4) 2; a size of a microbatch for each
    # divisor of a replica's rows
    simple = [one for one in found if one["schedule"] in ("gpipe", "1f1b")]
    assert len(simple) == 1 * 4 + 2 * 16 + 3 * 8
    for one in (one for one in found if one not in simple):  # few microbatches, and layers for all
        assert JOB.training.global_batch // one["data"] // one["microbatch"] <= 16 * one["pipeline"]
        assert "virtual_stages" not in one or one["virtual_stages"] * one["pipeline"] <= JOB.model.layers
    assert {one["schedule"] for one in found} >= {"zb-h1", "zb-v"}


def test_where_rows_do_not_come_out_even_there_are_smaller_last_microbatches():
    uneven = replace(JOB, training=replace(TRAINING, global_batch=10), constraints={"data": 4})
    assert {one["microbatch"] for one in candidates(uneven)} == {1, 2, 3}  # 3, 3, 2 and 2 rows


def test_what_is_fixed_is_kept():
    fixed = {"tensor": 2, "schedule": "gpipe", "microbatch": 2}
    found = list(candidates(replace(JOB, constraints=fixed)))
    assert found
    assert all(one | fixed == one for one in found)
    assert {one["data"] for one in found} == {1, 2}


def test_no_arrangement_no_candidate():
    assert list(candidates(replace(JOB, constraints={"data": 3}))) == []


@pytest.mark.parametrize("batch", [10**6, 10**9])
def test_steps_of_very_many_microbatches_are_left_out(batch):
    job = replace(JOB, training=replace(TRAINING, global_batch=batch), cluster=ClusterSpec(ranks=1))
    counts = [batch // one["microbatch"] for one in candidates(job)]
    assert 2000 < max(counts) <= 4096
    assert min(counts) == 1
    fixed = list(candidates(replace(job, constraints={"microbatch": 1})))
    assert [one["microbatch"] for one in fixed] == [1]

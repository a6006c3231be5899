"""What a schedule asks of a job: stages a rank, layers for all of them, and what a grid is drawn for."""

from __future__ import annotations

import pytest

from plait.plans.completion import complete
from plait.plans.legality import problems
from plait.plans.rule import with_value
from plait.specs.files import parse_job
from plait.specs.grids import tidy

GRID = tidy("F0 F1 .. B0 B1\n.. F0 B0 F1 B1")
MODEL = {"layers": 7, "hidden": 24, "heads": 4, "vocab": 300}


def job(plan, **training):
    tables = {"model": MODEL, "training": {"global_batch": 16, "sequence_length": 8, **training}, "plan": plan}
    return parse_job({**tables, "data": {"tokenizer": "bytes"}, "cluster": {"ranks": 4}})


@pytest.mark.parametrize(
    ("plan", "key", "legal", "said"),
    [
        ({"schedule": "interleaved", "virtual_stages": 1}, "plan.virtual_stages", 2, "at least 2 stages"),
        ({"schedule": "1f1b", "virtual_stages": 2}, "plan.virtual_stages", 1, "gives each rank 1 stage"),
        ({"schedule": "zb-v", "virtual_stages": 3}, "plan.virtual_stages", 2, "gives each rank 2 stages"),
        ({"schedule": "zb-v", "pipeline": 4}, "plan.pipeline", 2, "(8 stages) exceeds the 7 layers"),
        ({"schedule": "zb-v", "pipeline": 2, "stages": [4, 3]}, "plan.stages", (2, 2, 2, 1), "which has 4 stages"),
        ({"schedule": GRID, "pipeline": 4}, "plan.pipeline", 2, "the grid is drawn for 2 ranks"),
        (
            {"schedule": GRID, "data": 2, "microbatch": 2},
            "plan.microbatch",
            4,
            "with data = 2 a global batch of 16 makes 4",
        ),
        ({"schedule": GRID, "virtual_stages": 2}, "plan.virtual_stages", 1, "this grid gives each rank 1 stage"),
    ],
)
def test_what_does_not_fit_is_told_with_what_would(plan, key, legal, said):
    parsed = job({"pipeline": 2, **plan})
    (problem,) = problems(parsed.job, parsed.unknown)
    assert problem.key == key
    assert said in problem.message
    assert legal in problem.legal or str(legal) in problem.legal


THREE = tidy("F0 F1 F2 .. B0 B1 B2\n.. F0 B0 F1 B1 F2 B2")


@pytest.mark.parametrize(
    ("plan", "batch", "key", "legal", "said"),
    [
        ({}, 4, "training.global_batch", 3, "with data = 1 a global batch of 4 makes 2 a replica, of 2 sequences each"),
        ({"tensor": 2}, 4, "training.global_batch", 3, "with data = 1 a global batch of 4 makes 2"),
        ({"data": 2}, 2, "training.global_batch", 6, "with data = 2 a global batch of 2 makes 1"),
        ({"microbatch": 2}, 8, "plan.microbatch", 3, "with data = 1 a global batch of 8 makes 4"),
    ],
)
def test_microbatches_that_no_number_of_replicas_makes_are_the_grid_s_and_not_the_ranks(plan, batch, key, legal, said):
    parsed = job({"schedule": THREE, **plan}, global_batch=batch)
    (problem,) = problems(parsed.job, parsed.unknown)
    assert problem.key == key
    assert f"the grid is drawn for 3 microbatches, but {said}" in problem.message
    assert "can't be 4 ranks" not in problem.message
    assert legal in problem.legal
    assert not problems(with_value(parsed.job, problem.key, legal))


def test_a_grid_that_some_number_of_replicas_makes_is_legal_with_that_number():
    parsed = job({"schedule": THREE}, global_batch=5)  # of two replicas one has 3 sequences
    assert not problems(parsed.job, parsed.unknown)
    assert complete(parsed.job).data == 2


def test_a_grid_that_deadlocks_is_drawn():
    parsed = job({"schedule": tidy("F0 B0 F1 B1\n.. F1 F0 B0 B1")})
    (problem,) = problems(parsed.job, parsed.unknown)
    assert problem.key == "plan.schedule"
    assert "└──── the cycle closes" in problem.message


def test_a_mistake_of_a_grid_has_its_line_and_column():
    parsed = job({"schedule": tidy("F0 B0\nF0 Q0")})
    (problem,) = problems(parsed.job, parsed.unknown)
    assert "line 2, column 4: 'Q0' is no cell" in problem.message


@pytest.mark.parametrize(("value", "said"), [("no/such.txt", "No such file"), ("zb-w", "nearest is zb-v")])
def test_what_is_neither_a_name_nor_a_file(value, said):
    (problem,) = job({"schedule": value}).problems
    assert problem.key == "plan.schedule"
    assert said in problem.message


@pytest.mark.parametrize(
    ("plan", "virtual", "placed"),
    [
        ({"schedule": "interleaved"}, 2, (0, 1, 0, 1)),
        ({"virtual_stages": 3}, 3, (0, 1, 0, 1, 0, 1)),
        ({"schedule": "interleaved", "stages": [2, 1, 1, 1, 1, 1]}, 3, (0, 1) * 3),
        ({"schedule": "zb-v"}, 2, (0, 1, 1, 0)),
        ({"schedule": GRID}, 1, (0, 1)),
    ],
)
def test_what_is_left_open_is_what_the_schedule_asks_for(plan, virtual, placed):
    chosen = complete(job({"pipeline": 2, **plan}).job)
    assert (chosen.virtual_stages, chosen.stage_rank) == (virtual, placed)
    assert len(chosen.stages) == len(placed)
    assert sum(chosen.stages) == 7

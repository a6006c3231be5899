"""What the benchmark of slow links runs, in which order, and how its steps become a figure; nothing runs here."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from math import isnan
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from named_beforehand import WANTED, as_recorded, job_on, name_of, named, picked
from slow_links import Run, System, systems, table_lines, turns, typical

from plait.planner.hiding import gentlest
from plait.plans.legality import plan_problems
from plait.plans.plan import Plan
from plait.specs.tables import with_tuples
from tests.planner.machines import machine

MACHINE = machine(cores=1, latency=1e-5)
RATES = ("none", "1gbit", "200mbit", "50mbit")
DENSE = Plan(data=2, data_shares=(1, 1), stages=(4,))
DILOCO = replace(DENSE, synchronisation="diloco", local_steps=4)


@pytest.fixture(scope="module")
def found():
    return named("main", RATES, MACHINE)


def test_what_was_named_is_what_runs_to_the_bucket(found):
    assert set(found) <= set(RATES[1:])
    assert "50mbit" in found
    known = systems("main", ["plait dense", "DDP"], found, 2)
    assert [one.name for one in known if one.only is None] == ["plait dense", "DDP"]
    for rate, hiding in found.items():
        chosen = picked(hiding, WANTED[rate], 2)
        assert [one.plan for one in known if one.only == rate] == [one.plan for one in chosen]
        for one in chosen:
            assert one.kept >= WANTED[rate]
            assert plan_problems(job_on("main", rate), one.plan) == []


def test_where_nothing_keeps_enough_the_first_is_taken(found):
    hiding = found["50mbit"]
    assert picked(hiding, 2.0, 3) == hiding.choices[:1]
    assert picked(hiding, 0.0, 3) == (gentlest(hiding.choices, 0.0), hiding.choices[0])
    assert picked(hiding, 0.0, 1) == (gentlest(hiding.choices, 0.0),)


def test_the_record_has_the_plans_themselves(found):
    hiding = found["50mbit"]
    told = json.loads(json.dumps(as_recorded(hiding)))
    assert [Plan(**with_tuples(one["plan"])) for one in told["choices"]] == [one.plan for one in hiding.choices]
    assert [one["kept"] for one in told["choices"]] == [one.kept for one in hiding.choices]
    assert [one["name"] for one in told["choices"]] == [name_of(one) for one in hiding.choices]
    assert len(set(map(name_of, hiding.choices))) == len(hiding.choices)


def test_a_system_runs_whole_periods():
    assert System(name="a", plan=DENSE).steps(3, 1) == System(name="a", plan=DENSE).steps(3, 5) == 3
    assert [System(name="a", plan=DILOCO).steps(3, rounds) for rounds in (1, 2, 3)] == [8, 4, 4]
    assert [System(name="a", plan=DILOCO).steps(least, 3) for least in (7, 8, 13)] == [4, 8, 12]
    assert System(name="a").period == 1


def test_rounds_go_forwards_and_backwards():
    known = [System(name="a"), System(name="b", only="1gbit"), System(name="c", only="50mbit")]
    order = [(number, rate, "".join(one.name for one in they)) for number, rate, they in turns(known, RATES[:2], 2)]
    assert order == [(0, "none", "abc"), (0, "1gbit", "ab"), (1, "1gbit", "ba"), (1, "none", "cba")]


def test_a_figure_is_the_median_period():
    assert typical([[1.0, 1.0, 1.0, 9.0], [1.0, 1.0, 1.0, 5.0]], 4) == 2.5  # a meeting is in each
    assert typical([[1.0, 1.0, 1.0, 9.0], [1.0, 2.0]], 1) == 1.0
    assert typical([[1.0, 1.0, 1.0]], 2) == 1.0  # what is no whole period is left out
    assert isnan(typical([[]], 1))


def test_the_table_has_shares_of_the_own_speed():
    known = [System(name="a"), System(name="b", only="50mbit"), System(name="dead")]
    runs = [
        Run(round=0, rate="none", system="a", seconds=[1.0, 2.0, 3.0]),
        Run(round=0, rate="1gbit", system="a", seconds=[4.0]),
        Run(round=1, rate="none", system="a", seconds=[2.0]),
        Run(round=0, rate="none", system="b", seconds=[1.0]),
        Run(round=0, rate="none", system="dead", seconds=[]),
        Run(round=0, rate="1gbit", system="dead", seconds=[]),
    ]
    assert list(table_lines(known, RATES[1:2], runs))[2] == "| a | 4.00 |"
    assert list(table_lines(known, RATES[:2], runs))[2:] == [
        "| a | 2.00 (100%) | 4.00 (50%) |",
        "| b | 1.00 (100%) | – |",
        "| dead | died | died |",
    ]

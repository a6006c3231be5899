"""Jobs from the field: the broken ones are blamed as they should be, the good ones run and are the same model."""

from __future__ import annotations

import copy
import re
from itertools import pairwise

import pytest
import tomli_w

import plait
from plait.api import check, verify_job
from plait.errors import IllegalJob
from plait.plans.completion import complete, with_most_ranks
from plait.specs.files import job_from_table
from plait.verification.verdict import VERDICTS
from plait.verification.verify import verify_plan
from tests.check.good import GOOD
from tests.check.published import BROKEN, Table

RANKS = 4  # larger jobs are narrowed: their degrees become smaller, and stay above 1 and as uneven


@pytest.fixture
def write(tmp_path):
    def written(table: Table) -> str:
        path = tmp_path / "job.toml"
        path.write_text(tomli_w.dumps(table), encoding="utf-8")
        return str(path)

    return written


def errors_of(write, table: Table):
    return check(write(table)).errors


def with_value(table: Table, key: str, value: object) -> Table:
    changed = copy.deepcopy(table)
    section, _, name = key.partition(".")
    changed.setdefault(section, {})[name] = list(value) if isinstance(value, tuple) else value
    return changed


def test_there_are_forty_of_each():
    assert len({broken.issue for broken in BROKEN}) == len(BROKEN) >= 40
    assert len({good.name for good in GOOD}) == len(GOOD) >= 40
    assert sum(len(broken.blamed) > 1 for broken in BROKEN) >= 5


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_each_says_where_it_was_met(broken):
    assert re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", broken.issue)
    assert len(broken.happened.split()) > 4


# ---- broken ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_what_is_wrong_is_blamed_and_nothing_else(write, broken):
    report = check(write(broken.table))
    assert not report.ok
    assert sorted(error.key for error in report.errors) == sorted(broken.blamed)
    assert all(error.message and error.legal not in ("", ()) for error in report.errors)


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_every_value_that_is_offered_mends_its_error_and_breaks_nothing(write, broken):
    before = errors_of(write, broken.table)
    for error in before:
        if isinstance(error.legal, str) or error.message.startswith("unknown key"):
            continue
        for value in error.legal:
            after = errors_of(write, with_value(broken.table, error.key, value))
            assert sorted(other.key for other in after) == sorted(o.key for o in before if o is not error)


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_it_can_t_be_built_and_the_reasons_are_the_same(write, broken):
    path = write(broken.table)
    told = [str(error) for error in check(path).errors]
    with pytest.raises(IllegalJob) as caught:
        plait.plan(plait.load(path))
    assert [str(problem) for problem in caught.value.problems] == told
    with pytest.raises(IllegalJob) as caught:
        verify_job(plait.load(path))
    assert [str(problem) for problem in caught.value.problems] == told


# ---- good -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("good", GOOD, ids=str)
def test_a_good_job_is_legal_and_warned_of_what_is_odd(write, good):
    report = check(write(good.table))
    assert report.errors == ()
    machine_s = {"cluster.ranks"}  # more ranks than cores
    assert {caution.key for caution in report.warnings} - machine_s == good.cautioned


@pytest.mark.parametrize("good", GOOD, ids=str)
def test_a_good_job_runs_and_is_the_same_model(run_on_ranks, good):
    job = with_most_ranks(job_from_table(good.table))
    found = verify_plan(job, complete(job), ranks=RANKS, run=run_on_ranks)
    assert VERDICTS.index(found.verdict) <= VERDICTS.index("ZERO"), (found.verdict, found.culprit)


def test_the_verdicts_are_ordered():
    """What the test before compares with: whatever is no sameness stands behind."""
    ordered = ("EXACT", "REASSOCIATION", "ZERO", "NONFINITE", "BUG")
    assert all(VERDICTS.index(better) < VERDICTS.index(worse) for better, worse in pairwise(ordered))

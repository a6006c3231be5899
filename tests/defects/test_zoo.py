"""Every defect of the zoo, planted in a random layer and step, is caught with its tensor, its layer and its axis."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # the ranks get this path too

from zoo import CASES, Case, Placement, placements, prove

from plait.defects import DEFECTS
from plait.planner.work import work_of_ranks
from plait.specs.job import Job
from plait.verification.verify import verify_plan

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("placement", placements(seed=1), ids=lambda placement: str(placement.case))
def test_it_is_caught_with_its_tensor_and_axis(run_on_ranks, placement: Placement):
    found = prove(placement, run_on_ranks)
    case, culprit = placement.case, found.culprit
    apart = ", then ".join(f"{abs(many - one) / one:.0e}" for one, many in found.losses)
    print(f"{case}: losses are apart by {apart}; verify: {culprit}")
    assert found.verdict == "BUG"
    assert culprit.tensor in placement.tensors
    assert culprit.axis == case.axis
    if placement.block is not None and "{n}" in case.tensor:
        assert culprit.layer == f"block {placement.block}"
    wrong = [row.step for row in found.tensors if row.verdict == "BUG"]
    if case.defect in ("work-done-twice", "sum-taken-twice"):  # no value is wrong, and the work is
        assert wrong == []
        assert found.departures != ()
    else:
        assert min(wrong) == placement.first_step


def jobs_of_uneven_shares() -> dict[str, Case]:
    """Of each plan of uneven shares and states, the first case that is planted there."""
    found: dict[str, Case] = {}
    for case in CASES:
        if case.plan.zero and len(set(case.plan.data_shares)) > 1:
            found.setdefault(f"tp{case.plan.tensor}, ZeRO {case.plan.zero}, {case.model.norm} norms", case)
    return found


@pytest.mark.parametrize("case", jobs_of_uneven_shares().values(), ids=jobs_of_uneven_shares())
def test_without_a_defect_uneven_shares_raise_no_alarm(run_on_ranks, case: Case):
    job = Job(model=case.model, training=case.training)
    found = verify_plan(job, case.plan, run=run_on_ranks, work_of=work_of_ranks)
    assert found.culprit is None
    assert found.verdict != "BUG"
    assert found.departures == ()


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("number", [10, 11, 12, 16, 20])
def test_the_defects_of_replicas_are_planted_under_zero_and_uneven_data(level, number):
    """By their numbers in the list that the zoo was begun from."""
    known = {10: "norm-counts-replicas", 11: "clip-before-reduction", 12: "mean-of-means",
             16: "last-slice-not-updated", 20: "ragged-batch-dropped"}  # fmt: skip
    planted = [case for case in CASES if case.defect == known[number] and case.plan.zero == level]
    assert any(len(set(case.plan.data_shares)) > 1 for case in planted)


def test_every_defect_of_the_package_is_in_the_zoo():
    packaged = {name for name, kind in DEFECTS.items() if kind.__module__.startswith("plait.")}
    assert packaged == {case.defect for case in CASES}


def test_each_says_where_it_comes_from():
    for name, kind in DEFECTS.items():
        assert kind.issue in ("own", "several trainers") or re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", kind.issue), name
        assert kind.__doc__, name
    own = {case.defect for case in CASES if DEFECTS[case.defect].issue == "own"}
    late = {case.defect for case in CASES if case.first_step == 2}
    assert len(own) >= 5
    assert own & late  # at least one of ours changes no value in the first step


def test_the_page_has_a_row_for_each():
    page = (ROOT / "docs" / "defects.md").read_text(encoding="utf-8")
    for case in CASES:
        assert f"| `{case}`" in page


def test_the_counts_that_are_told_are_those_of_the_page():
    page = (ROOT / "docs" / "defects.md").read_text(encoding="utf-8")
    apart = [line.split(" | ")[3] for line in page.splitlines() if line.startswith("| `")]
    seen = sum(max(map(float, losses.split(", "))) >= 1e-3 for losses in apart)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"| {len(CASES)} | {len(CASES)} | {seen} |" in readme
    assert f"{seen} of the {len(CASES)} rows" in page

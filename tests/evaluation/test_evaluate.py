"""plait evaluate: rows, groups, the fitted constant, what is skipped and why; on invented runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plait.cli.main import main
from plait.evaluation.evaluate import Evaluation, evaluate
from plait.evaluation.scores import constant_errors, errors_of, kendall_tau, precision_and_recall, regret

RUNS = Path(__file__).parent / "runs.csv"


@pytest.fixture(scope="module")
def found() -> Evaluation:
    return evaluate(RUNS)


def test_every_row_is_predicted_or_skipped_for_a_reason(found: Evaluation) -> None:
    reasons = {one.row.case: one.skipped for one in found.judged}
    assert [case for case, reason in reasons.items() if reason is None] == ["a1", "a2", "a3", "b1", "b2"]
    assert "neither stated nor in the catalogue" in str(reasons["c1"])
    assert "no known device is called 'Abacus'" in str(reasons["c2"])
    assert "tp × pp × cp × dp" in str(reasons["c3"])
    assert "line 10, column hidden: '20x48'" in str(reasons["c4"])
    assert "line 11, column iter_s: 'fast'" in str(reasons["c5"])


def test_predictions_are_of_the_right_size(found: Evaluation) -> None:
    for one in found.judged:
        if one.pair is not None:
            assert 0.4 < one.pair[0] / one.pair[1] < 2.5, one.row.case


def test_groups_are_of_one_source_model_and_size(found: Evaluation) -> None:
    (group,) = found.groups
    assert (group.source, group.model, group.n_gpus, group.n) == ("lab a", "GPT-A", 16, 3)
    assert group.tau == 1.0
    assert group.regret == 0.0


def test_memory_that_ran_out_is_counted(found: Evaluation) -> None:
    assert found.out_of_memory == 1
    ran_out = next(one for one in found.judged if one.row.case == "b2")
    assert ran_out.ran_out
    assert ran_out.memory_pair is None


def test_the_command_tells_it_as_the_contract_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(RUNS), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"rows", "groups", "baseline", "out_of_memory"} <= set(document)
    assert {"case_id", "predicted_iter_s", "predicted_mem_gib", "skipped"} <= set(document["rows"][0])
    assert {"source", "model", "n_gpus", "n", "tau", "regret"} == set(document["groups"][0])
    assumed = {row["case_id"]: row["assumed_links"] for row in document["rows"]}
    assert (assumed["a1"], assumed["b1"]) == ([], ["between"])
    assert document["out_of_memory"]["n"] == 1
    assert sum(document["skipped"].values()) == 5


def test_the_command_speaks_to_people_and_refuses_what_is_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(RUNS)]) == 0
    said = capsys.readouterr().out
    assert "lab a" in said
    assert "5 of 10 rows were not predicted" in said
    assert main(["evaluate", str(RUNS.parent)]) == 2


# ---- scores ---------------------------------------------------------------------------------------------------------


def test_kendalls_tau_leaves_out_what_is_as_good_as_equal() -> None:
    assert kendall_tau([(1, 1), (2, 2), (3, 3)]) == 1
    assert kendall_tau([(3, 1), (2, 2), (1, 3)]) == -1
    assert kendall_tau([(1, 1.0), (2, 1.04)]) is None
    assert kendall_tau([(1, 1.0), (2, 1.04), (3, 3)]) == 1


def test_regret_is_what_the_chosen_plan_costs() -> None:
    assert regret([(1.0, 12.0), (2.0, 10.0)]) == pytest.approx(0.2)
    assert regret([(1.0, 10.0), (2.0, 12.0)]) == 0


def test_errors_are_relative_to_what_was_measured() -> None:
    found = errors_of([(1.1, 1.0), (0.8, 1.0), (3.0, 2.0)])
    assert found is not None
    assert found.n == 3
    assert found.median == pytest.approx(0.2)
    assert found.mean == pytest.approx(0.8 / 3)
    assert errors_of([]) is None


def test_the_constant_is_the_median_efficiency_of_the_very_rows() -> None:
    found = constant_errors([(1.0, 2.0), (1.0, 2.5), (1.0, 4.0)])
    assert found is not None
    efficiency, errors = found
    assert efficiency == pytest.approx(0.4)
    assert errors.n == 3
    assert errors.worst == pytest.approx(0.375)


def test_precision_and_recall() -> None:
    assert precision_and_recall([(True, True), (True, False), (False, True), (False, False)]) == (0.5, 0.5)
    assert precision_and_recall([(False, False)]) == (None, None)

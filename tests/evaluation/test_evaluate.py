"""plait evaluate: rows, groups, the fitted constant, what is skipped and why; on invented runs."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.cli.main import main
from plait.evaluation.evaluate import Evaluation, evaluate
from plait.evaluation.groups import JOB
from plait.evaluation.scores import errors_of, fitted_efficiency, found_of, kendall_tau, regret
from tests.contract.golden import assert_shape, golden

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
    assert group.predicted.tau == 1.0
    assert group.predicted.regret == 0.0
    assert not group.job


@pytest.fixture
def other_jobs(tmp_path: Path) -> Path:
    """Lab a's three plans, the first of them run again, and two of them with half of the sequence."""
    head, *rows = RUNS.read_text().splitlines()
    first, second, third = (row for row in rows if row.startswith("a"))
    again = first.replace("a1,", "a4,").replace(",1.4,", ",1.7,")
    halves = [row.replace(",2048,,A100", ",1024,,A100").replace(",256,none", ",512,none") for row in (first, third)]
    path = tmp_path / "runs.csv"
    path.write_text("\n".join([head, first, second, third, again, *halves]) + "\n")
    return path


def test_plans_of_one_job_are_compared_apart_from_runs_of_another(other_jobs: Path) -> None:
    found = evaluate(other_jobs)
    (whole,) = found.groups
    assert (whole.n, whole.predicted.told_apart) == (6, 5)
    long, short = found.same_job
    assert (long.job["seq"], long.job["gbs"], long.n, long.predicted.told_apart) == (2048, 256, 4, 3)
    assert (short.job["seq"], short.job["gbs"], short.n, short.predicted.told_apart) == (1024, 512, 2, 2)
    assert set(JOB) == set(long.job) == set(short.job)
    assert long.job["gpu"] == "A100-80GB"


def test_a_plan_that_was_run_twice_is_picked_at_the_mean_of_both(other_jobs: Path) -> None:
    long, _ = evaluate(other_jobs).same_job
    assert long.predicted.regret == pytest.approx((1.4 + 1.7) / 2 / 1.4 - 1)


def test_the_command_tells_both_kinds_of_groups(other_jobs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(other_jobs), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(one["n"], one["told_apart"]) for one in document["groups"]] == [(6, 5)]
    assert [(one["n"], one["seq"], one["kv_heads"]) for one in document["same_job"]] == [(4, 2048, 16), (2, 1024, 16)]
    assert main(["evaluate", str(other_jobs)]) == 0
    said = capsys.readouterr().out
    assert "of fewer than 5 runs" not in said, "the one group has six"
    assert "order of plans of one job   2 groups of fewer than 5 different predictions: --json has them" in said
    rows = other_jobs.read_text()
    first = rows.splitlines()[1]
    sizes = (first.replace(",1,1,16,1,1,1,4,", f",1,1,16,1,1,1,{size},") for size in (1, 2, 8))
    other_jobs.write_text(rows + "\n".join(sizes) + "\n")
    assert main(["evaluate", str(other_jobs)]) == 0
    said = capsys.readouterr().out
    assert "order within a group   the worst of 1 of 5 plans or more" in said
    assert "order of plans of one job   the worst of 1 of 5 plans or more; median tau" in said
    assert "and 1 group of fewer than 5 different predictions: --json has it" in said


# ---- beside the fitted constant -------------------------------------------------------------------------------------


def test_each_row_has_what_its_source_s_constant_says(found: Evaluation) -> None:
    first, second, third, _, other = (one for one in found.judged if one.skipped is None)
    assert len({first.ideal, second.ideal, third.ideal}) == 1, "one job on as many devices"
    assert first.constant == pytest.approx(1.6), "the median of 1.4, 1.6 and 2.6, of the same FLOPs"
    assert first.constant_pair == (first.constant, 1.4)
    assert other.constant is not None
    lab = next(source for source in found.sources if source.name == "lab a")
    assert lab.efficiency == pytest.approx((first.ideal or 0) / 1.6)
    assert lab.constant is not None
    assert lab.constant.worst == pytest.approx(1 - 1.6 / 2.6)
    assert found.constant is not None
    assert found.time is not None
    assert found.constant.n == found.time.n


def test_a_constant_that_tells_no_plans_apart_has_the_order_of_lots(found: Evaluation) -> None:
    (group,) = found.groups
    assert group.constant.told_apart == 1
    assert group.constant.tau == 0.0
    assert group.constant.regret == pytest.approx((1.4 + 1.6 + 2.6) / 3 / 1.4 - 1)


def test_a_constant_knows_other_jobs_apart(other_jobs: Path) -> None:
    (whole,) = evaluate(other_jobs).groups
    assert whole.constant.told_apart == 2, "halves of the sequence have other FLOPs"


def test_document_and_text_tell_the_constant_beside_the_planner(
    other_jobs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(other_jobs), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    first = document["rows"][0]
    assert first["baseline"]["error"] == pytest.approx(first["baseline"]["predicted_iter_s"] / 1.4 - 1)
    (group,) = document["groups"]
    assert set(group["baseline"]) == {"told_apart", "tau", "regret"}
    assert document["same_job"][0]["baseline"]["tau"] == 0.0
    assert "no memory" in document["baseline"]["what"]
    assert (document["baseline"]["memory"], document["baseline"]["out_of_memory"]) == (None, None)
    assert main(["evaluate", str(other_jobs)]) == 0
    said = capsys.readouterr().out
    assert "constant  error" in said
    assert "memory   of which a fitted constant predicts nothing" in said
    with other_jobs.open("a") as file:
        file.writelines(f"{line}\n" for line in other_jobs.read_text().splitlines()[1:])
    assert main(["evaluate", str(other_jobs)]) == 0
    said = capsys.readouterr().out
    assert "constant: tau  regret" in said
    assert "where it tells no plans apart, what drawing lots yields" in said


# ---- memory ---------------------------------------------------------------------------------------------------------


def test_memory_that_ran_out_is_counted(found: Evaluation) -> None:
    assert (found.out_of_memory.n, found.out_of_memory.skipped) == (1, 0)
    ran_out = next(one for one in found.judged if one.row.case == "b2")
    assert ran_out.ran_out
    assert ran_out.memory_pair is None


def test_what_ran_out_in_a_row_that_is_not_predicted_is_counted_apart(tmp_path: Path) -> None:
    text = RUNS.read_text()
    unknown = next(row for row in text.splitlines() if row.startswith("c2,")).replace("x,1.4,", "x,OOM,")
    (path := tmp_path / "runs.csv").write_text(f"{text}{unknown.replace('c2,', 'c9,')}\n")
    found = evaluate(path).out_of_memory
    assert (found.n, found.skipped, sum(found.ran_out.values())) == (2, 1, 1)


def test_what_the_memory_of_a_run_is_said_to_do_is_in_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(RUNS), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    rows = {row["case_id"]: row for row in document["rows"]}
    assert (rows["a1"]["out_of_memory_answer"], rows["a1"]["ran_out_of_memory"]) == ("fits", False)
    assert (rows["b2"]["out_of_memory_answer"], rows["b2"]["ran_out_of_memory"]) == ("runs_out", True)
    assert rows["c2"]["out_of_memory_answer"] is None
    found = document["out_of_memory"]
    assert found["answers"]["runs_out"] == {"ran": 0, "ran_out": 1}
    assert (found["precision"], found["recall"]) == (1.0, 1.0)
    assert main(["evaluate", str(RUNS)]) == 0
    said = capsys.readouterr().out
    assert "1 run ran out; a fitted constant predicts none" in said
    assert "refused by `plait plan`, above 10%: precision 100%, recall 100%" in said


def test_words_that_are_not_known_are_told_and_priced_as_if_the_cell_were_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = RUNS.read_text().splitlines()
    known = text[1].replace("ZeRO-1 (distributed optimizer)", "")
    other = text[1].replace("ZeRO-1 (distributed optimizer)", "frobnicated")
    (path := tmp_path / "runs.csv").write_text("\n".join([text[0], known, other]))
    first, second = evaluate(path).judged
    assert (first.unread, second.unread) == ((), ("zero_fsdp 'frobnicated'",))
    assert second.seconds == first.seconds
    assert main(["evaluate", str(path)]) == 0
    assert "   1 zero_fsdp 'frobnicated'" in capsys.readouterr().out


def test_the_command_tells_it_as_the_contract_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(RUNS), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert_shape(document, golden("evaluate"))
    assumed = {row["case_id"]: row["assumed_links"] for row in document["rows"]}
    assert (assumed["a1"], assumed["b1"]) == ([], [])  # all stated; and on one host, between which there is nothing
    assert document["out_of_memory"]["n"] == 1
    assert sum(document["skipped"].values()) == 5


def test_the_command_speaks_to_people_and_refuses_what_is_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(RUNS)]) == 0
    said = capsys.readouterr().out
    assert "lab a" in said
    assert "5 of 10 rows were not predicted" in said
    assert main(["evaluate", str(RUNS.parent)]) == 2


def test_a_line_that_stands_there_twice_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = RUNS.read_text()
    (path := tmp_path / "runs.csv").write_text(text + text.splitlines()[1])
    assert main(["evaluate", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][-1]["repeats_line"] == 2
    assert main(["evaluate", str(path)]) == 0
    assert "1 row with the very cells of an earlier line" in capsys.readouterr().out


def test_a_file_without_rows_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs.csv").write_text(RUNS.read_text().partition("\n")[0])
    assert main(["evaluate", str(tmp_path / "runs.csv")]) == 0
    assert "has no row below" in capsys.readouterr().out


# ---- scores ---------------------------------------------------------------------------------------------------------


_TIMES = st.floats(0.1, 10).map(lambda value: round(value, 1))


@given(st.lists(st.tuples(_TIMES, _TIMES), max_size=30))
def test_kendalls_tau_is_that_of_all_pairs(pairs: list[tuple[float, float]]) -> None:
    told = [
        ((one - other) * (first - second) > 0) - ((one - other) * (first - second) < 0)
        for (one, first), (other, second) in combinations(pairs, 2)
        if max(first, second) > 1.05 * min(first, second)
    ]
    assert kendall_tau(pairs) == (pytest.approx(fmean(told)) if told else None)


def test_sizes_beyond_all_counting_take_their_own_row_alone(tmp_path: Path) -> None:
    head = "model,layers,hidden,heads,ffn,vocab,gpu,n_gpus,gbs,seq,iter_s,params_b\n"
    rows = "GPT,24,2048,16,8192,51200,A100,8,64,2048,1,\nGPT,65536,1e12,16,1e12,1e12,A100,8,1e12,1e12,1,\n"
    (path := tmp_path / "runs.csv").write_text(head + rows + "GPT,,2048,16,8192,51200,A100,8,64,2048,1,1e12\n")
    good, huge, deep = evaluate(path).judged
    assert good.seconds
    assert huge.skipped == "sizes whose products are too large to be counted"
    assert deep.skipped == "so many parameters would be more than 65,536 layers"


def test_each_row_of_a_short_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = "case_id,model,layers,hidden,heads,gpu,n_gpus,gbs,seq,iter_s\n"
    (path := tmp_path / "runs.csv").write_text(head + "mine,GPT,24,2048,16,A100,8,64,2048,1\n")
    assert main(["evaluate", str(path)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("mine")]
    assert "(its link inside assumed)" in line
    assert line.split()[-1] == "GiB"


def test_what_a_file_says_of_a_run_is_shown_on_its_line_and_not_obeyed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = "case_id,source,model,layers,hidden,heads,gpu,n_gpus,gbs,seq,iter_s\n"
    run = '"one\x1b[31m\ntwo","lab\x07",GPT,24,2048,16,A100,8,64,2048,1\n'
    (path := tmp_path / "runs.csv").write_text(head + run + run.replace("A100", "A\x1b[31m"))
    assert main(["evaluate", str(path)]) == 0
    said = capsys.readouterr().out
    assert r"one\u001B[31m\ntwo" in said
    assert r"lab\u0007" in said
    assert not {*"\x1b\x07"} & {*said}
    assert main(["evaluate", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["case_id"] == "one\x1b[31m\ntwo"


def test_kendalls_tau_leaves_out_what_is_as_good_as_equal() -> None:
    assert kendall_tau([(1, 1), (2, 2), (3, 3)]) == 1
    assert kendall_tau([(3, 1), (2, 2), (1, 3)]) == -1
    assert kendall_tau([(1, 1.0), (2, 1.04)]) is None
    assert kendall_tau([(1, 1.0), (2, 1.04), (3, 3)]) == 1


def test_regret_is_what_the_chosen_plan_costs() -> None:
    assert regret([(1.0, 12.0), (2.0, 10.0)]) == pytest.approx(0.2)
    assert regret([(1.0, 10.0), (2.0, 12.0)]) == 0


def test_of_plans_that_are_predicted_alike_regret_is_the_mean() -> None:
    assert regret([(1.0, 10.0), (1.0, 14.0), (2.0, 11.0)]) == pytest.approx(0.2)
    assert regret([(1.0, 14.0), (1.0, 10.0), (2.0, 8.0)]) == pytest.approx(0.5)


def test_errors_are_relative_to_what_was_measured() -> None:
    found = errors_of([(1.1, 1.0), (0.8, 1.0), (3.0, 2.0)])
    assert found is not None
    assert found.n == 3
    assert found.median == pytest.approx(0.2)
    assert found.mean == pytest.approx(0.8 / 3)
    assert errors_of([]) is None


def test_the_constant_is_the_median_efficiency_of_the_very_rows() -> None:
    assert fitted_efficiency([(1.0, 2.0), (1.0, 2.5), (1.0, 4.0)]) == pytest.approx(0.4)
    assert fitted_efficiency([]) is None


def test_precision_and_recall() -> None:
    found = found_of([(True, True), (True, False), (False, True), (False, False), (False, True), (False, True)])
    assert (found.precision, found.recall) == (0.5, 0.25)
    nothing = found_of([(False, False)])
    assert (nothing.precision, nothing.recall) == (None, None)

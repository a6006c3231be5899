"""`plait check`: broken jobs are blamed on the right key, good ones pass, and whatever happens the form is kept."""

from __future__ import annotations

import json
import time
import tomllib

import pytest
import tomli_w

from plait.api import check, load, require_legal
from plait.cli.main import main
from plait.errors import IllegalJob, Problem
from plait.plans.completion import complete, with_most_ranks
from plait.plans.legality import plan_problems, problems
from plait.specs.files import job_from_table, parse_job
from tests.cli.jobs import BROKEN, GOOD, table_of
from tests.contract.golden import assert_shape, contract_table, golden


@pytest.fixture
def write(tmp_path):
    def written(table) -> str:
        path = tmp_path / "job.toml"
        path.write_text(tomli_w.dumps(table), encoding="utf-8")
        return str(path)

    return written


def test_there_are_enough_of_them():
    assert len(BROKEN) >= 40
    assert len(GOOD) >= 20


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_job_is_blamed_on_the_right_key(write, name):
    changes, without, key, word = BROKEN[name]
    report = check(write(table_of(changes, without)))
    blamed = {error.key: error for error in report.errors}
    assert key in blamed, report.errors
    assert word in blamed[key].message
    assert blamed[key].legal != ""


@pytest.mark.parametrize("name", GOOD)
def test_a_good_job_passes(write, name):
    assert check(write(table_of(*GOOD[name]))).errors == ()


@pytest.mark.parametrize("name", GOOD)
def test_a_good_job_has_a_plan(name):
    job = with_most_ranks(job_from_table(table_of(*GOOD[name])))
    assert plan_problems(job, complete(job)) == []


@pytest.mark.parametrize("degrees", [{"data": 3}, {}])
def test_what_is_legal_can_be_planned_where_ranks_are_left_open(write, degrees):
    served = {"synchronisation": "parameter-server", "servers": 2**20, **degrees}
    path = write({"model": {"layers": 2, "hidden": 8, "heads": 2}, "plan": served})
    (error,) = check(path).errors
    with pytest.raises(IllegalJob, match="none is left that works") as refused:
        require_legal(load(path))
    assert refused.value.problems == (error,)


def test_a_caution_does_not_look_like_an_error(write, capsys):
    assert main(["check", write(table_of({"plan.tensor": 0, "training.learning_rate": 9.0}, ()))]) == 1
    *told, verdict = capsys.readouterr().out.splitlines()
    errors = [line for line in told if not line.startswith("caution: ")]
    assert len(errors) == 1
    assert len(told) > 1
    assert verdict.endswith("is not legal: 1 error")


SINGLE = [name for name, (changes, _, _, _) in BROKEN.items() if len(changes) == 1]


@pytest.mark.parametrize("name", SINGLE)
def test_one_slip_is_one_error(write, name):
    changes, without, key, _ = BROKEN[name]
    errors = check(write(table_of(changes, without))).errors
    missing = {"model.layers", "model.hidden", "model.heads"}  # as many as there are
    assert [error.key for error in errors if error.key not in missing] == ([] if key in missing else [key])


def errors_of(table) -> list[Problem]:
    parsed = parse_job(table)
    return [*parsed.problems, *problems(parsed.job, parsed.unknown)]


def remedies(name) -> list[tuple[str, object]]:
    """The values that are offered for the one value that is wrong; [] where words are, or where a key is wrong."""
    changes, without, _, _ = BROKEN[name]
    (error, *more) = errors_of(table_of(changes, without)) or [Problem(key="", message="")]
    if more or isinstance(error.legal, str) or error.message.startswith("unknown key"):
        return []
    return [(error.key, value) for value in error.legal]


@pytest.mark.parametrize("name", [name for name in BROKEN if remedies(name)])
def test_every_value_that_is_offered_mends_the_job(name):
    changes, without, _, _ = BROKEN[name]
    for key, value in remedies(name):
        put = list(value) if isinstance(value, tuple) else value
        left_out = [*without, "plan"] if key == "model.name" else without  # no plan is one for all named models
        assert errors_of(contract_table({**changes, key: put}, left_out)) == []


def test_every_error_at_once(write, capsys):
    wrong = {
        "model.hidden": 121, "model.dropout": 2, "data.tokenizer": "bpe:1", "training.steps": 0, "plan.tensor": 9,
        "plan.stagse": [4, 3], "plan.zero": 4, "plan.microbatch": 9, "cluster.device": "a100",
    }  # fmt: skip
    code = main(["check", write(contract_table(wrong, ["plan.tensor_shares", "plan.stages"])), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert code == 1
    assert {error["key"] for error in document["errors"]} == set(wrong)


def test_the_document_of_a_broken_job(write, capsys):
    assert main(["check", write(contract_table({"plan.tensor": 9, "training.learning_rate": 0})), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert_shape(document, golden("check"))
    assert document["ok"] is False
    assert [error["key"] for error in document["errors"]] == ["plan.tensor"]
    assert "training.learning_rate" in [warning["key"] for warning in document["warnings"]]


def test_the_document_of_a_good_job(write, capsys):
    assert main(["check", write(contract_table()), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert_shape(document, golden("check"))
    assert document["ok"] is True
    assert document["errors"] == []


def test_it_says_how_large_the_model_is(write, capsys):
    path = write({"model": {"name": "mixtral-8x7b"}, "cluster": {"device": "h200", "ranks": 8}})
    assert main(["check", path]) == 0
    told, verdict = capsys.readouterr().out.splitlines()[-2:]
    assert told == "46.7 billion parameters, 12.88 billion of them active"
    assert verdict.endswith("job.toml is legal")
    assert main(["check", path, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["parameters"], document["active_parameters"]) == (46_702_792_704, 12_879_925_248)
    assert main(["check", write(contract_table({"plan.tensor": 9})), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["parameters"] is None


def test_people_read_one_line_an_error(write, capsys):
    assert main(["check", write(contract_table({"plan.tensor": 9, "plan.context": 2}))]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "plan.context: context = 2 is not built yet; legal here: 1"
    assert lines[1].startswith("plan.tensor: tensor = 9 exceeds the 5 heads; and ")  # what the same advice mends
    assert lines[1].endswith("; legal here: 1")
    assert lines[-1].endswith("job.toml is not legal: 2 errors")


def test_the_house_s_own_example(write):
    model = {"model.hidden": 5120, "model.heads": 40, "model.kv_heads": 40, "model.ffn": 20480}
    (error,) = check(write({"model": contract_table(model)["model"], "plan": {"tensor": 48}})).errors
    wanted = "tensor = 48 exceeds the 40 heads; legal here: 1 to 40 (uneven shares are fine), fastest 1, 2, 4, 5, 8"
    assert str(error) == f"plan.tensor: {wanted}"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"training.learning_rate": 0}, "training.learning_rate"),
        ({"training.warmup_steps": 201}, "training.warmup_steps"),
        ({"training.sequence_length": 1}, "training.sequence_length"),
        ({"plan.microbatch": 8}, "plan.pipeline"),
        ({"plan.sequence_parallel": True}, "plan.sequence_parallel"),
        ({"training.precision": "fp64"}, "plan.gradient_precision"),
    ],
)
def test_what_is_suspicious_is_legal(write, changes, key):
    report = check(write(contract_table(changes)))
    assert report.ok
    assert key in [warning.key for warning in report.warnings]


@pytest.mark.clock
def test_it_answers_within_a_second_however_wrong_the_job(write):
    wrong = {"cluster.ranks": 2**20, "training.global_batch": 2**62 + 1, "model.layers": 2**40, "model.heads": 2**20}
    path = write({**contract_table({**wrong, "model.hidden": 2**62 - 1}, ["plan"])})
    start = time.process_time()
    assert not check(path).ok
    assert time.process_time() - start < 0.5


def test_the_files_of_the_tables_are_toml():
    assert all(tomllib.loads(tomli_w.dumps(table_of(*job[:2]))) for job in (*BROKEN.values(), *GOOD.values()))

"""A plan survives its file, a person may edit it, and what is wrong in it is told as in a job."""

from __future__ import annotations

import os
import tomllib
from dataclasses import fields

import pytest
import tomli_w
from hypothesis import assume, given

from plait.errors import IllegalJob, UnusableInput
from plait.plans.completion import complete
from plait.plans.describe import describe
from plait.plans.files import PlanFile, plan_table, read_plan, write_plan
from plait.plans.legality import is_legal
from plait.plans.plan import Plan
from plait.specs.files import job_from_table
from plait.specs.tables import known_keys
from tests.contract.golden import contract_table
from tests.plans.drawn import jobs
from tests.plans.test_prediction import PREDICTION

JOB = job_from_table(contract_table())
PLAN = complete(JOB)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "plan.toml"


def test_it_survives_its_file(path):
    write_plan(path, PLAN)
    assert read_plan(path, JOB) == PlanFile(plan=PLAN)


def test_its_prediction_survives_too(path):
    write_plan(path, PLAN, PREDICTION)
    assert read_plan(path, JOB) == PlanFile(plan=PLAN, prediction=PREDICTION)


@given(job=jobs())
def test_any_plan_survives(job, tmp_path_factory):
    assume(is_legal(job))
    path = tmp_path_factory.mktemp("plans") / "plan.toml"
    plan = complete(job)
    write_plan(path, plan)
    assert read_plan(path, job).plan == plan


def test_it_has_every_key_of_the_contract_in_its_order():
    assert tuple(plan_table(PLAN)) == known_keys("plan") == tuple(field.name for field in fields(Plan))
    assert plan_table(PLAN) == contract_table()["plan"]


def test_it_opens_with_the_plan_in_words(path):
    write_plan(path, PLAN)
    first = path.read_text().splitlines()[0]
    assert first == f"# {describe(PLAN).splitlines()[0]}"


def test_the_job_s_own_wishes_are_set_aside(path):
    other = complete(JOB, data=4, pipeline=1, stages=(7,), data_shares=(1,) * 4)
    write_plan(path, other)
    assert read_plan(path, JOB).plan == other


def test_what_somebody_took_out_is_filled_in(path):
    path.write_text("[plan]\ntensor = 2\nmicrobatch = 4\n")
    file = read_plan(path, JOB)
    assert (file.plan.tensor, file.plan.microbatch, file.plan.ranks) == (2, 4, 4)
    assert set(file.left_open) == {
        "data", "data_shares", "tensor_shares", "zero", "sequence_parallel", "bucket_bytes",
    }  # fmt: skip
    assert all(value == getattr(file.plan, key) for key, value in file.left_open.items())


@pytest.mark.parametrize(
    ("text", "left_open"),
    [
        ("data = 4\nmicrobatch = 1\nzero = 1\ndata_shares = [1, 1, 1, 1]\n", {"bucket_bytes"}),
        ('data = 4\nmicrobatch = 1\nsynchronisation = "local-sgd"\nlocal_steps = 2\n', {"data_shares"}),
        ("pipeline = 4\nmicrobatch = 1\n", {"schedule", "stages"}),
        ('pipeline = 2\ndata = 2\nschedule = "interleaved"\nstages = [2, 2, 2, 1]\nzero = 0\nmicrobatch = 1\n',
         {"virtual_stages", "data_shares", "bucket_bytes"}),
        ("tensor = 4\n", {"microbatch", "tensor_shares", "sequence_parallel"}),
    ],
)  # fmt: skip
def test_of_what_is_left_open_what_matters_is_told(path, text, left_open):
    path.write_text(f"[plan]\n{text}")
    assert set(read_plan(path, JOB).left_open) == left_open


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"tensor": 48}, "plan.tensor"),
        ({"tensor": "2"}, "plan.tensor"),
        ({"tenosr": 2}, "plan.tenosr"),
        ({"zero": 4}, "plan.zero"),
        ({"stages": [3, 3]}, "plan.stages"),
        ({"schedule": "zb-v"}, "plan.schedule"),
    ],
)
def test_bad_keys_are_told_as_in_a_job(path, changes, key):
    path.write_text(tomli_w.dumps({"plan": {**plan_table(PLAN), **changes}}))
    with pytest.raises(IllegalJob) as caught:
        read_plan(path, JOB)
    assert key in [problem.key for problem in caught.value.problems]
    assert all(problem.legal for problem in caught.value.problems)


def test_all_at_once(path):
    path.write_text('plan.tensor = "x"\nplan.zero = 4\nmodle.layers = 3\n')
    with pytest.raises(IllegalJob) as caught:
        read_plan(path, JOB)
    assert {problem.key for problem in caught.value.problems} == {"plan.tensor", "plan.zero", "modle"}


@pytest.mark.parametrize("text", ["", "[prediction]\nstep_seconds = 1.0\n"])
def test_a_file_without_a_plan(path, text):
    path.write_text(text)
    with pytest.raises(IllegalJob, match=r"no \[plan\]"):
        read_plan(path, JOB)


def test_a_file_that_lost_its_header_is_told_that_alone(path):
    path.write_text("data = 2\ntensor = 1\nstages = [2]\nodd = 1\n")
    with pytest.raises(IllegalJob) as caught:
        read_plan(path, JOB)
    (problem,) = caught.value.problems
    assert (problem.key, problem.message) == ("plan", "there is no [plan] above data, tensor, stages")


@pytest.mark.parametrize("text", ["plan = 3\n", "[[plan]]\ntensor = 1\n"])
def test_a_plan_that_is_no_table(path, text):
    path.write_text(text)
    with pytest.raises(IllegalJob, match="plan"):
        read_plan(path, JOB)


@pytest.mark.parametrize(
    ("text", "said"),
    [("[plan\n", "line 1"), ("[plan]\n[prediction]\nterms = 3\n", "prediction"), (None, "No such file")],
)
def test_a_file_that_can_t_be_used(path, text, said):
    if text is not None:
        path.write_text(text)
    with pytest.raises(UnusableInput, match=said):
        read_plan(path, JOB)


def test_a_place_that_can_t_be_written(tmp_path):
    with pytest.raises(UnusableInput, match="can't be written"):
        write_plan(tmp_path / "no" / "such" / "plan.toml", PLAN)


def test_a_file_is_written_whole_or_not_at_all(path, monkeypatch):
    write_plan(path, PLAN)
    before = path.read_text()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(UnusableInput, match="No space"):
        write_plan(path, complete(JOB, microbatch=1))
    assert path.read_text() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["plan.toml"]


def test_what_is_written_is_toml(path):
    write_plan(path, PLAN, PREDICTION)
    assert set(tomllib.loads(path.read_text())) == {"plan", "prediction"}

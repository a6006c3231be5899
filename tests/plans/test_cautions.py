"""What is suspicious is told once, under its key, and what is usual is not."""

from dataclasses import replace

import pytest

from plait.plans.cautions import Caution, cautions
from plait.plans.report import Report
from plait.plans.rule import with_value
from plait.specs.files import job_from_table
from tests.contract.golden import contract_table

CONTRACT = job_from_table(contract_table())
OPEN = replace(CONTRACT, constraints={})


def test_the_contract_s_job_is_not_suspicious():
    assert cautions(CONTRACT, cores=4) == []


@pytest.mark.parametrize(
    ("key", "value", "suspicious", "word"),
    [
        ("training.learning_rate", 0.0, "training.learning_rate", "nothing"),
        ("training.warmup_steps", 201, "training.warmup_steps", "longer"),
        ("training.sequence_length", 1, "training.sequence_length", "1 token"),
        ("plan.microbatch", 8, "plan.pipeline", "1 microbatches for 2 stages"),
        ("plan.sequence_parallel", True, "plan.sequence_parallel", "nothing"),
        ("training.precision", "fp64", "plan.gradient_precision", "fp64"),
        ("cluster.ranks", 5, "cluster.ranks", "4 cores"),
    ],
)
def test_what_is_suspicious(key, value, suspicious, word):
    (caution,) = cautions(with_value(CONTRACT, key, value), cores=4)
    assert caution.key == suspicious
    assert word in caution.message


@pytest.mark.parametrize(
    ("key", "value"),
    [("training.warmup_steps", 200), ("plan.microbatch", 4), ("training.sequence_length", 2), ("cluster.ranks", 4)],
)
def test_what_is_just_usual(key, value):
    assert cautions(with_value(CONTRACT, key, value), cores=4) == []


def test_an_open_plan_may_still_have_enough_microbatches():
    assert cautions(with_value(OPEN, "plan.pipeline", 7), cores=4) == []
    assert [c.key for c in cautions(with_value(with_value(OPEN, "plan.pipeline", 7), "plan.data", 8), 4)] == [
        "plan.pipeline"
    ]


def test_warnings_forbid_nothing():
    assert Report(warnings=(Caution(key="cluster.ranks", message="many"),)).ok
    assert Report().document() == {"ok": True, "errors": [], "warnings": []}

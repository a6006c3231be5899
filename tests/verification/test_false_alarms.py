"""The healthy tree passes: jobs drawn at random, of all that is legal, are proven without a false alarm.

What `check` calls legal runs and verifies. Thirty jobs here; benchmarks/false_alarms.py draws thousands from the same
generator, and keeps a record of them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from drawn_jobs import Drawn, drawn_job, numbered
from strata import ALARMS

from plait.api import check
from plait.planner.work import work_of_ranks
from plait.plans.legality import plan_problems
from plait.specs.training import DataSpec
from plait.verification.verify import verify_plan

T = TypeVar("T")


class Hypothesis:
    """Choices that hypothesis makes, and may shrink."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def integers(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))

    def pick(self, options: Sequence[T]) -> T:
        return self._draw(st.sampled_from(options))


@st.composite
def legal_jobs(draw: st.DrawFn) -> Drawn:
    return drawn_job(Hypothesis(draw))


@pytest.fixture(scope="module")
def tiny_tokenizer(tmp_path_factory) -> str:
    """Of fewer tokens than any drawn vocabulary: "bytes" would be too many for all."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_text('{"model": {"vocab": {"a": 0}}}')
    return str(path)


@settings(max_examples=300)
@given(drawn=legal_jobs())
def test_every_drawn_job_is_legal(tiny_tokenizer, drawn):
    assert plan_problems(drawn.job, drawn.plan) == []
    assert check(replace(drawn.job, data=DataSpec(tokenizer=tiny_tokenizer))).errors == ()


@settings(
    max_examples=30,
    phases=[Phase.explicit, Phase.generate],  # each example takes a second: a failing one is reported as it is
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],  # ranks stay alive on purpose
)
@given(drawn=legal_jobs())
def test_a_legal_job_raises_no_alarm(run_on_ranks, drawn):
    found = verify_plan(drawn.job, drawn.plan, run=run_on_ranks, work_of=work_of_ranks)
    assert found.verdict not in ALARMS, found.culprit
    assert {row.name: row.axes for row in found.tensors if row.axes} == {}


def test_a_numbered_job_is_the_same_every_time():
    assert numbered(7) == numbered(7)
    assert numbered(7) != numbered(8)

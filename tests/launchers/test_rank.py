"""What a rank does with a task, seen from within its process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from plait.errors import IllegalJob, Problem, RankFailure
from plait.launchers import RankPool, emit
from plait.launchers.rank import (
    inside_a_rank,
    report_of,  # pyright: ignore[reportPrivateUsage]  # no process is needed to try it
)
from tests.conftest import RunOnRanks


def test_without_a_parent_an_event_is_dropped_but_still_checked() -> None:
    assert not inside_a_rank()
    emit({"step": 1})
    with pytest.raises(TypeError, match="not JSON serializable"):
        emit({"step": object()})


def _place(matrix: torch.Tensor) -> tuple[bool, int, str, str, float]:
    product = (matrix @ matrix).sum().item()
    return inside_a_rank(), torch.get_num_threads(), os.environ["LOCAL_RANK"], os.getcwd(), product


def test_a_rank_has_its_threads_its_number_and_the_parent_s_directory(
    run_on_ranks: RunOnRanks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    matrix = torch.ones(64, 64)
    expected = 64.0**3
    assert run_on_ranks(2, _place, matrix) == [
        (True, 1, "0", str(tmp_path), expected),
        (True, 1, "1", str(tmp_path), expected),
    ]


def _import(name: str) -> str:
    return __import__(name).__name__


def test_a_rank_imports_from_the_parent_s_path_of_the_moment(
    run_on_ranks: RunOnRanks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_on_ranks(2, _place, torch.ones(1, 1))  # the ranks are there before the module is
    (tmp_path / "made_just_now.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run_on_ranks(2, _import, "made_just_now") == ["made_just_now"] * 2


def _raise(error: BaseException) -> None:
    raise error


def test_a_report_begins_with_the_exception_s_own_words(run_on_ranks: RunOnRanks) -> None:
    with pytest.raises(RankFailure) as caught:
        run_on_ranks(1, _raise, ValueError("boom"))
    words, traceback = caught.value.report.split("\n\n")
    assert words == "ValueError: boom"
    assert traceback.startswith("Traceback (most recent call last):\n")
    assert traceback.splitlines()[1].endswith(", in _raise"), "our own frames are left out"
    assert traceback.splitlines()[-1] == "    raise error"


def _raise_twice_with_a_note() -> None:
    try:
        raise KeyError("first")
    except KeyError as cause:
        error = ValueError("planted\nin two lines")
        error.add_note("and a note")
        raise error from cause


def test_the_user_reads_the_words_once_and_those_of_the_cause_too(run_on_ranks: RunOnRanks) -> None:
    with pytest.raises(RankFailure) as caught:
        run_on_ranks(1, _raise_twice_with_a_note)
    told = str(caught.value)
    assert told.startswith("rank 0 failed first:\nValueError: planted\nin two lines\nand a note\n\nTraceback")
    assert told.count("ValueError: planted") == told.count("and a note\n") == told.count("KeyError: 'first'") == 1
    assert told.splitlines()[-1] == "    raise error from cause"


def test_an_exception_without_a_place_is_only_its_words() -> None:
    assert report_of(ValueError("nowhere")) == "ValueError: nowhere"


def test_a_report_carries_our_own_errors_whole(run_on_ranks: RunOnRanks) -> None:
    problems = [Problem(key="plan.tensor", message="48 exceeds the 40 heads"), Problem(key="plan.zero", message="4")]
    with pytest.raises(RankFailure) as caught:
        run_on_ranks(1, _fail_with_problems, problems)
    words = caught.value.report.split("\n\n")[0]
    assert words == "plait.errors.IllegalJob: plan.tensor: 48 exceeds the 40 heads\nplan.zero: 4"


def _fail_with_problems(problems: list[Problem]) -> None:
    raise IllegalJob(problems)


def test_leaving_the_interpreter_is_a_failure_like_any_other(run_on_ranks: RunOnRanks) -> None:
    with pytest.raises(RankFailure, match="SystemExit: 3"):
        run_on_ranks(1, sys.exit, 3)


def test_a_rank_starts_no_ranks(run_on_ranks: RunOnRanks) -> None:
    with pytest.raises(RankFailure, match="a rank can't start ranks"):
        run_on_ranks(1, RankPool, 2)

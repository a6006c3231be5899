"""Contexts that travel with a task: entered on every rank in order, left again, and not there for the next task."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial

import pytest

from plait.errors import RankFailure
from plait.launchers import carry

VARIABLE = "PLAIT_TEST_CARRIED"


@contextmanager
def marked(mark: str):
    before = os.environ.get(VARIABLE, "")
    os.environ[VARIABLE] = before + mark
    try:
        yield
    finally:
        os.environ[VARIABLE] = before


def marks() -> str:
    return os.environ.get(VARIABLE, "")


def test_a_task_is_done_inside_of_what_is_carried(run_on_ranks):
    with carry(partial(marked, "a")), carry(partial(marked, "b")):
        assert run_on_ranks(2, marks) == ["ab", "ab"]
        assert marks() == ""  # it is entered on ranks, not here
    assert run_on_ranks(2, marks) == ["", ""]


def failing() -> None:
    raise ArithmeticError("inside")


def test_a_failing_task_is_told_as_ever(run_on_ranks):
    with carry(partial(marked, "a")), pytest.raises(RankFailure, match="inside"):
        run_on_ranks(2, failing)

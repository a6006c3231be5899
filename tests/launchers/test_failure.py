"""Which of several failures is the cause, and what a report says."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.launchers.failure import Failure, death_report, first_cause, silence_report

failures = st.lists(
    st.builds(Failure, rank=st.integers(0, 7), when=st.floats(0, 9), report=st.sampled_from([None, "ValueError: x"])),
    min_size=1,
)


def test_a_death_outranks_the_connection_errors_that_it_causes() -> None:
    broken = Failure(rank=0, when=1.0, report="RuntimeError: Connection closed by peer")
    death = Failure(rank=2, when=1.2, report=None)
    assert first_cause([broken, death]) is death


def test_the_earlier_of_two_exceptions_is_the_cause() -> None:
    later = Failure(rank=0, when=2.0, report="RuntimeError: Connection closed by peer")
    earlier = Failure(rank=3, when=1.0, report="ValueError: boom")
    assert first_cause([later, earlier]) is earlier


@given(failures)
def test_the_cause_does_not_depend_on_the_order_of_arrival(found: list[Failure]) -> None:
    assert first_cause(found) == first_cause(found[::-1])
    assert first_cause(found) in found


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-signal.SIGKILL, "killed by SIGKILL; if you didn't, the kernel may have, out of memory"),
        (-signal.SIGSEGV, "killed by SIGSEGV"),
        (-40, "killed by signal 40"),
        (3, "its process ended with exit code 3, without a word"),
        (None, "its process is gone, and nobody knows how it ended"),
    ],
)
def test_how_a_process_ended(code: int | None, words: str) -> None:
    assert death_report(code) == words


def test_silence_names_the_ranks_and_where_they_stand() -> None:
    report = silence_report({2: "  File x.py, line 3, in wait\n", 1: None}, 0.5)
    first, one, two = report.split("\n\n")
    assert first == "ranks 1, 2 have not answered for 0.5 s"
    assert one.startswith("rank 1 can't say where it stands")
    assert two == "rank 2 stands here:\n  File x.py, line 3, in wait"
    assert silence_report({2: None}, 30.0).startswith("rank 2 has not answered for 30 s\n")

"""Who is missing, and who failed first, as every rank concludes it from what all are told in one order."""

from __future__ import annotations

from typing import Any

import pytest

from plait.errors import IllegalJob, Problem, RankFailure, UnusableInput
from plait.launchers.pulse import Message
from plait.launchers.roster import Roster, raised_by


def roster(rank: int, *told: tuple[int, str, Any]) -> Roster:
    made = Roster(rank, 3)
    for sender, kind, body in (*[(r, "here", {"host": "h", "node": 0, "pid": 100 + r}) for r in range(3)], *told):
        made.note(Message(sender=sender, kind=kind, body=body))
    return made


def raised(error: BaseException, rank: int) -> tuple[int, str, Any]:
    def task() -> None:
        raise error

    try:
        task()
    except BaseException as caught:
        return rank, "raised", raised_by(rank, caught)


LOST = (0, "lost", {"rank": 2, "words": "rank 2: gone"})


def test_a_death_comes_before_any_exception():
    cause = roster(0, raised(RuntimeError("closed by peer"), 1), LOST).first_cause()
    assert isinstance(cause, RankFailure)
    assert (cause.rank, cause.report) == (2, "rank 2: gone")


@pytest.mark.parametrize(("reader", "lines"), [(0, True), (1, False), (2, True)])
def test_the_exception_told_first_is_the_cause_whole_at_home_and_on_rank_0(reader: int, lines: bool) -> None:
    told = [raised(ValueError("wrong sum"), 2), raised(RuntimeError("later"), 1)]
    cause = roster(reader, *told).first_cause()
    assert isinstance(cause, RankFailure)
    assert cause.rank == 2
    assert "ValueError: wrong sum" in cause.report
    assert ("Traceback" in cause.report) == lines
    assert ("process 102 on h" in cause.report) == (reader != 2), "elsewhere it is named"


@pytest.mark.parametrize("error", [UnusableInput("no room"), IllegalJob([Problem(key="a.b", message="no room")])])
def test_what_can_t_be_used_is_no_rank_s_failure(error: Exception) -> None:
    cause = roster(0, raised(error, 1)).first_cause()
    assert isinstance(cause, UnusableInput)
    assert "rank 1 (process 101 on h): " in str(cause)
    assert "no room" in str(cause)


def test_a_failure_that_is_told_on_names_its_own_rank():
    cause = roster(0, raised(RankFailure(2, "rank 2 (process 102 on h): stopped"), 1)).first_cause()
    assert isinstance(cause, RankFailure)
    assert (cause.rank, cause.report) == (2, "rank 2 (process 102 on h): stopped")


def test_torchrun_s_word_alone_is_told_as_such():
    cause = roster(1).first_cause()
    assert isinstance(cause, RankFailure)
    assert "SIGTERM" in cause.report


def test_who_has_not_come_is_named_with_those_that_have():
    partly = Roster(0, 4)
    partly.note(Message(sender=1, kind="here", body={"host": "h", "node": 0, "pid": 7}))
    assert partly.absent == [0, 2, 3]
    missing = partly.missing("within 3 s")
    assert missing.rank == 0
    assert missing.report == "ranks 0, 2, 3 have not come within 3 s; there are rank 1 (process 7 on h)"


def test_who_has_left_is_missed_by_nobody():
    full = roster(0)
    assert full.staying == [1, 2]
    full.note(Message(sender=1, kind="left", body=None))
    full.note(Message(sender=0, kind="lost", body={"rank": 2, "words": "gone"}))
    assert full.staying == []
    assert full.broken

"""What one rank has been told by the others, and what follows from it: who is missing, who failed first, in words.

    here    each rank's host and process          raised   an exception, with its report
    left    it waits for nobody any more          lost     a rank that somebody else misses

Pure: it knows neither store nor clock. All ranks are told in one order, and so agree.
"""

from __future__ import annotations

from typing import Any

from plait.errors import IllegalJob, PlaitError, RankFailure, UnusableInput
from plait.launchers.pulse import Message
from plait.launchers.rank import report_of

__all__ = ["Roster", "raised_by"]


class Roster:
    """The ranks of a world of `size`, as `rank` knows them; `said` holds by kind what each rank said first."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.said: dict[str, dict[int, Any]] = {}
        self.lost: dict[int, str] = {}  # in words, the first first

    def note(self, message: Message) -> None:
        """Take in one message."""
        if message.kind == "lost":
            self.lost.setdefault(message.body["rank"], message.body["words"])
        else:
            self.said.setdefault(message.kind, {}).setdefault(message.sender, message.body)

    @property
    def broken(self) -> bool:
        """Whether a rank is known to have failed."""
        return bool(self.lost) or "raised" in self.said

    @property
    def absent(self) -> list[int]:
        """The ranks that have not come."""
        here = self.said.get("here", {})
        return [rank for rank in range(self.size) if rank not in here]

    @property
    def staying(self) -> list[int]:
        """The other ranks that have come, and neither left nor been lost."""
        gone = {self.rank, *self.said.get("left", {}), *self.lost}
        return [rank for rank in self.said.get("here", {}) if rank not in gone]

    def name(self, rank: int) -> str:
        """What a person needs to find it."""
        who = self.said.get("here", {}).get(rank)
        return f"rank {rank}" if who is None else f"rank {rank} (process {who['pid']} on {who['host']})"

    def missing(self, when: str) -> RankFailure:
        """The words for ranks that have not come."""
        absent = self.absent
        here = ", ".join(self.name(rank) for rank in sorted(self.said.get("here", {})))
        who = f"rank {absent[0]} has" if len(absent) == 1 else f"ranks {', '.join(map(str, absent))} have"
        return RankFailure(absent[0], f"{who} not come {when}; there are {here or 'none'}")

    def first_cause(self) -> PlaitError:
        """What explains the others: a rank that was lost, then the exception that was told first; else torchrun's
        word."""
        for rank, words in self.lost.items():
            return RankFailure(rank, words)
        for rank, raised in self.said.get("raised", {}).items():
            return self._told_by(rank, raised)
        words = "torchrun told it to stop (SIGTERM), and no rank is known to have failed"
        return RankFailure(self.rank, words)

    def _told_by(self, rank: int, raised: dict[str, Any]) -> PlaitError:
        """The whole report for the rank itself and for rank 0, a line for the others."""
        who = "" if rank == self.rank or raised["rank"] != rank else f"{self.name(rank)}: "
        if raised["unusable"] is not None:
            return UnusableInput(f"{who}{raised['unusable']}")
        report = raised["report"]
        whole = self.rank in (0, rank)
        return RankFailure(raised["rank"], who + (report if whole else report.splitlines()[0]))


def raised_by(rank: int, error: BaseException) -> dict[str, Any]:
    """What `rank` says of an exception. An illegal job, too, is input that can't be used; a failure of another rank is
    told as that rank's."""
    unusable = str(error) if isinstance(error, UnusableInput | IllegalJob) else None
    if isinstance(error, RankFailure):
        return {"rank": error.rank, "report": error.report, "unusable": unusable}
    return {"rank": rank, "report": report_of(error), "unusable": unusable}

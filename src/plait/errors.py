"""The tree of errors that Plait raises on purpose.

    PlaitError
    ├── UnusableInput        the input can't be read at all: bad TOML, a missing file   exit 2
    ├── IllegalJob           a readable job that breaks rules; carries every Problem    exit 1 or 2
    ├── IllegalSchedule      a schedule that deadlocks, loses a microbatch, or holds too many
    ├── NothingFits          the search found no legal plan that fits                   exit 1
    ├── PeerLost             a rank waits for one that is gone, and says which
    └── RankFailure          a rank raised or died; carries the first failing rank's own words

A message gives the rule, the numbers and the remedy. Anything else that escapes is a defect of Plait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "IllegalJob",
    "IllegalSchedule",
    "NothingFits",
    "PeerLost",
    "PlaitError",
    "Problem",
    "RankFailure",
    "UnusableInput",
]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One broken rule: the key of the job it concerns, what is wrong, and what would be legal there."""

    key: str
    message: str
    legal: tuple[object, ...] | str = ""

    def __str__(self) -> str:
        legal = self.legal if isinstance(self.legal, str) else ", ".join(str(value) for value in self.legal)
        return f"{self.key}: {self.message}" + (f"; legal here: {legal}" if legal else "")


class PlaitError(Exception):
    """The root: everything that Plait raises on purpose."""


class UnusableInput(PlaitError):
    """The input can't be read, so that nothing can be said about it."""


class IllegalJob(PlaitError):
    """A readable job that breaks rules; `problems` holds all of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class IllegalSchedule(PlaitError):
    """A schedule that would deadlock, lose a microbatch, or hold more activations than allowed."""


class NothingFits(PlaitError):
    """No legal plan fits the memory of the devices."""


class PeerLost(PlaitError):
    """A rank that this one waits for has died, hangs, or does something else; the message names it."""


class RankFailure(PlaitError):
    """A rank raised or died. `rank` is the first that failed, `report` its own traceback or cause of death."""

    def __init__(self, rank: int, report: str) -> None:
        self.rank = rank
        self.report = report
        super().__init__(f"rank {rank} failed first:\n{report}")

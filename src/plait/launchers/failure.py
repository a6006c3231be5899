"""Which rank failed first, and the words for it. Pure: knows nothing of processes.

One failure causes others: a killed rank breaks the connections of its neighbours, which then raise, and so do those
that wait for a stopped one. The first cause is a death before all else, then what came first by the clock that all
processes of a machine share.
"""

from __future__ import annotations

import signal
from collections.abc import Collection, Mapping
from dataclasses import dataclass

__all__ = ["Failure", "death_report", "first_cause", "silence_report", "stop_report"]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A rank raised (with its report), was stopped (with ours) or its process ended (report None), at `when` on
    time.monotonic's clock.

    `unusable` is the message of what it raised, where that was an UnusableInput.
    """

    rank: int
    when: float
    report: str | None
    unusable: str | None = None

    @property
    def died(self) -> bool:
        """Whether the process ended without a word."""
        return self.report is None


def first_cause(failures: Collection[Failure]) -> Failure:
    """The failure that explains the others."""
    return min(failures, key=lambda failure: (not failure.died, failure.when, failure.rank))


def death_report(exit_code: int | None) -> str:
    """How a process ended, from its exit code as subprocess has it; None if nobody knows."""
    if exit_code is None:
        return "its process is gone, and nobody knows how it ended"
    if exit_code >= 0:
        return f"its process ended with exit code {exit_code}, without a word"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:  # a real-time signal has no name
        name = f"signal {-exit_code}"
    hint = "; if you didn't, the kernel may have, out of memory" if name == "SIGKILL" else ""
    return f"killed by {name}{hint}"


def stop_report(seconds: float) -> str:
    """A process that somebody has stopped, and was not let go on for so long."""
    return f"its process has been stopped for {seconds:.0f} s: by SIGSTOP, or Ctrl-Z of it alone"


def silence_report(silent: Mapping[int, str | None], seconds: float) -> str:
    """The ranks that did not answer within `seconds`, each with the stack where it stands (None: it can't say)."""
    names = ", ".join(str(rank) for rank in sorted(silent))
    who = f"rank {names} has" if len(silent) == 1 else f"ranks {names} have"
    places = [
        f"rank {rank} stands here:\n{stack.rstrip()}"
        if stack is not None
        else f"rank {rank} can't say where it stands: it is stopped, or holds Python's lock in native code"
        for rank, stack in sorted(silent.items())
    ]
    return "\n\n".join([f"{who} not answered for {seconds:g} s", *places])

"""Memory that runs out: what a row says of it, which answer a probability is, and how good the answers are.

    probability   0 ── fits ── 0.1 ─────────── uncertain ─────────── 0.9 ── runs out ── 1

`plait plan` proposes what fits, and refuses the rest as long as anything does. What it calls a risk is no claim that a
run dies, so that there are three answers, and what is uncertain is counted apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plait.estimates.estimate import RISK
from plait.evaluation.memory_words import speaks_of_running_out
from plait.evaluation.rows import MEASURED, Row
from plait.evaluation.scores import Found, found_of
from plait.evaluation.spellings import recompute

__all__ = ["ANSWERS", "FLAGGED", "OutOfMemory", "answer", "out_of_memory", "ran_out"]

FLAGGED = 1 - RISK  # a run that is more likely than that to run out of memory is said to
ANSWERS = ("fits", "uncertain", "runs_out")


@dataclass(frozen=True, kw_only=True)
class OutOfMemory:
    """`n` runs ran out of memory; of `skipped` of them nothing was predicted. By answer, how many of the others `ran`,
    and how many `ran_out`. `flagged`: precision and recall of the answer that a run runs out, over all that are
    predicted; `certain`: the same over those whose answer is not that it is uncertain; `refused`: of what `plait plan`
    would not propose, which is all that does not surely fit."""

    n: int
    skipped: int
    ran: dict[str, int]
    ran_out: dict[str, int]
    flagged: Found
    certain: Found
    refused: Found


def ran_out(row: Row) -> bool | None:
    """Whether a row's run ran out of memory; None where it says neither that nor what was measured. One whose steps
    were timed did not, whatever its notes tell of others."""
    again = recompute(row.text("recompute"))
    recomputes = None if again is None else again != "none"
    said = MEASURED if "iter_s" in row.numbers else (*MEASURED, "recompute", "notes")
    if any(speaks_of_running_out(row.texts.get(column, ""), row.numbers, recomputes=recomputes) for column in said):
        return True
    return False if any(column in row.numbers for column in MEASURED) else None


def answer(probability: float) -> str:
    """What is said of a run that runs out of memory with that probability."""
    return ANSWERS[(probability > RISK) + (probability > FLAGGED)]


def out_of_memory(runs: Sequence[tuple[float | None, bool | None]]) -> OutOfMemory:
    """Of (predicted probability, whether memory ran out); None where nothing was predicted, or is known."""
    known = [(chance, happened) for chance, happened in runs if chance is not None and happened is not None]
    flags = [(chance > FLAGGED, happened) for chance, happened in known]

    def counted(outcome: bool) -> dict[str, int]:
        answers = [answer(chance) for chance, happened in known if happened is outcome]
        return {name: answers.count(name) for name in ANSWERS}

    return OutOfMemory(
        n=sum(happened is True for _, happened in runs),
        skipped=sum(happened is True and chance is None for chance, happened in runs),
        ran=counted(False),
        ran_out=counted(True),
        flagged=found_of(flags),
        certain=found_of(
            [flag for flag, (chance, _) in zip(flags, known, strict=True) if answer(chance) != "uncertain"]
        ),
        refused=found_of([(chance > RISK, happened) for chance, happened in known]),
    )

"""What ranks are asked to do for `verify`. The parent names these functions and needs no torch: they import it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from plait.verification.narrow import Subject
from plait.verification.trace import Entry, Order, Precision, RankTrace, Trace

__all__ = ["Around", "first_norm", "judged_and_free", "judged_only", "share_of_references"]

Around = Callable[[], AbstractContextManager[object]]


def first_norm(subject: Subject) -> float | None:
    """On the first rank: the gradient norm of the first step on one device."""
    from plait.verification.reference import reference_trace

    if _rank() > 0:
        return None
    microbatch = subject.plan.microbatch
    trace = reference_trace(subject.model, subject.training, precision="fp64", microbatch=microbatch, steps=1)
    return float(trace[Entry(1, "norm", "norm")])


def share_of_references(subject: Subject, runs: Sequence[tuple[Precision, Order]]) -> dict[int, Trace]:
    """The one-process runs (precision, order) that fall to this rank, by their place in `runs`."""
    from plait.verification.reference import reference_trace

    mine = range(_rank(), len(runs), int(os.environ["WORLD_SIZE"]))
    return {
        number: reference_trace(
            subject.model,
            subject.training,
            precision=runs[number][0],
            microbatch=subject.plan.microbatch,
            order=runs[number][1],
        )
        for number in mine
    }


def judged_only(subject: Subject, states: Mapping[Precision, Trace], around: Around) -> dict[Precision, RankTrace]:
    """The plan performed in each precision, every step from the reference's state."""
    from plait.verification.candidate import candidate_trace

    with around():
        return {
            precision: candidate_trace(subject.model, subject.training, subject.plan, precision=precision, state=state)
            for precision, state in states.items()
        }


def judged_and_free(
    subject: Subject, states: Mapping[Precision, Trace], around: Around
) -> dict[Precision, tuple[RankTrace, RankTrace]]:
    """Beside that, the plan performed as in training."""
    from plait.verification.candidate import candidate_trace

    judged = judged_only(subject, states, around)
    with around():
        return {
            precision: (
                judged[precision],
                candidate_trace(subject.model, subject.training, subject.plan, precision=precision),
            )
            for precision in states
        }


def _rank() -> int:
    return int(os.environ["RANK"])

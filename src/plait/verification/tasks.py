"""What ranks are asked to do for `verify`. The parent names these functions and needs no torch: they import it.

A job is sent as the numbers that it is, and becomes an experiment where it is performed; a user's module comes as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from plait.plans.prediction import Work
from plait.verification.narrow import Subject
from plait.verification.trace import PRECISIONS, Order, Precision, RankTrace, Reference, Trace

if TYPE_CHECKING:
    from plait.verification.source import Experiment

__all__ = ["Performed", "performed", "share_of_references", "smallest_norm", "testimony"]


class Performed(NamedTuple):
    """One rank of a plan, in one precision: each step from the reference's state, and as in training."""

    judged: RankTrace
    free: RankTrace


def smallest_norm(asked: Subject | Experiment) -> float | None:
    """On the first rank: the smaller gradient norm of the two steps on one device."""
    from plait.verification.reference import reference_trace

    if _rank() > 0:
        return None
    trace = reference_trace(_experiment(asked), precision="fp64").trace
    return min(float(array) for entry, array in trace.items() if entry.name == "norm")


def share_of_references(asked: Subject | Experiment, runs: Sequence[tuple[Precision, Order]]) -> dict[int, Reference]:
    """The one-process runs (precision, order) that fall to this rank, by their place in `runs`."""
    from plait.verification.reference import reference_trace

    mine = range(_rank(), len(runs), _size())
    experiment = _experiment(asked)
    return {number: reference_trace(experiment, precision=runs[number][0], order=runs[number][1]) for number in mine}


def testimony(asked: Subject) -> dict[Precision, tuple[Trace, Trace]] | None:
    """On the first rank: the reference's and the published module's first step, in each precision."""
    from plait.verification.witness import witness_traces

    if _rank() > 0:
        return None
    return {p: witness_traces(asked.model, asked.training, p) for p in PRECISIONS}


def performed(
    asked: Subject | Experiment, states: Mapping[Precision, Trace]
) -> tuple[dict[Precision, Performed], Work]:
    """The plan performed in each precision, and what this rank did for one step of it."""
    from plait.verification.candidate import candidate_trace, work_of_rank

    experiment = _experiment(asked)
    runs: dict[Precision, Performed] = {
        precision: Performed(
            judged=candidate_trace(experiment, precision=precision, state=state),
            free=candidate_trace(experiment, precision=precision),
        )
        for precision, state in states.items()
    }
    return runs, work_of_rank(experiment, precision="fp32")


def _experiment(asked: Subject | Experiment) -> Experiment:
    from plait.verification.source import Experiment

    if isinstance(asked, Subject):
        return Experiment.of(asked.model, asked.training, asked.plan)
    return asked


def _rank() -> int:
    import torch.distributed as dist

    return dist.get_rank()


def _size() -> int:
    import torch.distributed as dist

    return dist.get_world_size()

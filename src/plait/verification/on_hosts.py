"""A proof on the processes that torchrun has started, on several hosts: where the plan's ranks stand, and who is idle.

    rank 0   narrows, asks for references and runs, judges ──► the verification, told to all
    others   do what they are asked; their own job is not read

It knows what the ranks of a proof send each other; how it travels is the launcher's.
"""

from __future__ import annotations

from collections.abc import Callable

from plait.launchers import World, led
from plait.plans.plan import Plan
from plait.plans.prediction import Traffic, Work
from plait.sharding.mesh_shape import AXES
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.verification.culprit import Culprit
from plait.verification.effort import Departure
from plait.verification.evidence import Row
from plait.verification.narrow import Subject
from plait.verification.report import Standing, Verification
from plait.verification.tasks import Performed, performed, share_of_references, smallest_norm, testimony
from plait.verification.trace import Entry, RankTrace, Reference
from plait.verification.trial import RunOnRanks

__all__ = ["proven_on", "standing"]

_TASKS = (smallest_norm, share_of_references, performed, testimony)
_ASKED = (Subject, ModelSpec, TrainingSpec, Plan)
_FOUND = (Entry, Reference, RankTrace, Performed, Work, Traffic)
_TOLD = (Verification, Standing, Row, Departure, Culprit)


def proven_on(world: World, prove: Callable[[RunOnRanks], Verification], patience: float) -> Verification:
    """What `prove(run)` finds on rank 0, on every process of the world; all call it. Raises as `led` does."""
    return led(world, prove, tasks=_TASKS, classes=(*_ASKED, *_FOUND, *_TOLD), timeout=patience)


def standing(plan: Plan, hosts: tuple[tuple[int, ...], ...]) -> Standing:
    """Where the ranks of `plan` stand, with the ranks of each host given."""
    host_of = {rank: host for host, ranks in enumerate(hosts) for rank in ranks}
    at_work = tuple(tuple(rank for rank in ranks if rank < plan.ranks) for ranks in hosts)
    return Standing(
        hosts=tuple(ranks for ranks in at_work if ranks),
        idle=tuple(sorted(rank for rank in host_of if rank >= plan.ranks)),
        across=tuple(
            axis for axis in AXES if any(len({host_of[rank] for rank in group}) > 1 for group in plan.mesh.groups(axis))
        ),
    )

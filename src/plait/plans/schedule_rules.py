"""The rules of the schedule: how many stages it gives a rank, and what a grid is drawn for.

    virtual_stages    1 for gpipe, 1f1b and zb-h1; 2 for zb-v; from 2 for interleaved; as drawn for a grid a grid
    is one (`schedules.grid`), has a row for each rank of the pipeline, and as many microbatches as the
                      replica with the most has

That each stage has a layer is an axis's rule, and the length of `stages` a list's.
"""

from __future__ import annotations

from typing import cast

from plait.errors import IllegalSchedule
from plait.plans.arrangements import (
    degree,
    filling,
    grid_of,
    grid_rows,
    microbatch_size,
    rounds,
    rounds_fit,
    row_span,
)
from plait.plans.rule import Breach, Remedy, Rule, multiples_near, nearest_first
from plait.schedules.grid import read_grid
from plait.schedules.registry import stages_a_rank
from plait.specs.grids import SCHEDULES, is_grid
from plait.specs.job import Job
from plait.specs.wording import counted, shown

__all__ = ["SCHEDULE_RULES"]

_MOST_TRIED = 8  # numbers of stages a rank that are proposed


def _text(job: Job) -> str:
    return cast("str", job.constraints.get("schedule", ""))


def _grid_is_sound(job: Job) -> bool:
    return not is_grid(_text(job)) or grid_of(job) is not None


def _grid_is_not(job: Job) -> Breach:
    try:
        read_grid(_text(job))
    except IllegalSchedule as error:
        message = f"the grid can't be run: {error}"
    else:
        message = "the grid can be run"
    return Breach(key="plan.schedule", message=message, legal=f"{', '.join(SCHEDULES)}, or a grid without this mistake")


def _stages_suit(job: Job) -> bool:
    if "virtual_stages" not in job.constraints or "schedule" not in job.constraints or not _grid_is_sound(job):
        return True
    wanted, given = stages_a_rank(_text(job)), job.constraints["virtual_stages"]
    return given == wanted if wanted is not None else cast("int", given) >= 2


def _stages_do_not(job: Job) -> Breach:
    given, kind = cast("int", job.constraints["virtual_stages"]), _text(job)
    wanted = stages_a_rank(kind)
    most = max(2, job.model.layers // (degree(job, "pipeline") or 1))
    values = tuple(range(2, min(most, _MOST_TRIED) + 1)) if wanted is None else (wanted,)
    remedies: list[Remedy] = [("plan.virtual_stages", values)]
    if not is_grid(kind):
        remedies.append(("plan.schedule", ("interleaved",) if given > 1 else ("1f1b", "gpipe", "zb-h1")))
    name = "this grid" if is_grid(kind) else f"schedule = {shown(kind)}"
    has = "at least 2 stages" if wanted is None else counted(wanted, "stage")
    return Breach(
        key="plan.virtual_stages",
        message=f"virtual_stages = {given}, but {name} gives each rank {has}",
        remedies=tuple(remedies),
        legal=", ".join(map(str, values)),
    )


def _rows_suit(job: Job) -> bool:
    rows = grid_rows(job)
    return rows is None or job.constraints.get("pipeline", rows) == rows


def _rows_do_not(job: Job) -> Breach:
    rows, pipeline = grid_rows(job) or 1, job.constraints["pipeline"]
    return Breach(
        key="plan.pipeline",
        message=f"pipeline = {pipeline}, but the grid is drawn for {counted(rows, 'rank')}",
        remedies=(("plan.pipeline", (rows,)),),
        legal=str(rows),
    )


def _rounds_suit(job: Job) -> bool:
    """Whether some number of replicas that fills the ranks has the grid's microbatches; where none fills them, that is
    another rule's matter."""
    if grid_of(job) is None:
        return True
    replicas = _replicas(job)
    return not replicas or any(rounds_fit(job, data) for data in replicas)


def _replicas(job: Job) -> tuple[int, ...]:
    """The numbers of replicas that there may be: the fixed one, or all that fill the ranks."""
    fixed = degree(job, "data")
    return tuple(filling(job, job.cluster.ranks)) if fixed is None else (fixed,)


def _rounds_do_not(job: Job) -> Breach:
    grid, batch, (data, *others) = grid_of(job), job.training.global_batch, _replicas(job) or (1,)
    wanted, size, made = grid.microbatches if grid else 1, microbatch_size(job, data), rounds(job, data)
    fixed = cast("int", job.constraints.get("microbatch", 1))
    batches = {near for step in {wanted * data, wanted * fixed * data} for near in multiples_near(batch, step)}
    return Breach(
        key="plan.schedule",
        message=(
            f"the grid is drawn for {counted(wanted, 'microbatch', 'es')}, but with data = {data} a global batch of "
            f"{batch} makes {made} a replica, of {counted(size, 'sequence')} each"
            f"{'; nor does it fit another number of replicas' if others else ''}"
        ),
        remedies=(
            ("plan.microbatch", (-(-row_span(job, data)[1] // wanted),)),
            ("training.global_batch", nearest_first(batches, batch)),
        ),
        legal=f"a grid of {counted(made, 'microbatch', 'es')}",
    )


_KEYS = frozenset({"plan.schedule", "plan.virtual_stages"})

_OF_BATCHES = frozenset(
    {
        "plan.schedule",
        "plan.data",
        "plan.data_shares",
        "plan.microbatch",
        "plan.synchronisation",
        "plan.servers",
        "training.global_batch",
    }
)

SCHEDULE_RULES = (
    Rule(reads=frozenset({"plan.schedule"}), holds=_grid_is_sound, breach=_grid_is_not),
    Rule(reads=_KEYS | {"plan.pipeline", "plan.stages", "model.layers"}, holds=_stages_suit, breach=_stages_do_not),
    Rule(reads=frozenset({"plan.schedule", "plan.pipeline"}), holds=_rows_suit, breach=_rows_do_not),
    Rule(reads=_OF_BATCHES, holds=_rounds_suit, breach=_rounds_do_not),
)

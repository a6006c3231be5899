"""The rules of the schedule: how many stages it gives a rank, and what a grid is drawn for.

    virtual_stages    1 for gpipe, 1f1b and zb-h1; 2 for zb-v; from 2 for interleaved; as drawn for a grid a grid
    is one (`schedules.grid`), has a row for each rank of the pipeline, and as many microbatches as the
                      replica with the most has

That each stage has a layer is an axis's rule, and the length of `stages` a list's.
"""

from __future__ import annotations

from typing import cast

from plait.errors import IllegalSchedule
from plait.plans.arrangements import degree, grid_of, grid_rows, row_span
from plait.plans.rule import Breach, Remedy, Rule, nearest_first
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
    grid, data = grid_of(job), degree(job, "data")
    if grid is None or data is None:
        return True
    rows = row_span(job, data)[1]
    sizes = (job.constraints["microbatch"],) if "microbatch" in job.constraints else (-(-rows // grid.microbatches),)
    return any(-(-rows // cast("int", size)) == grid.microbatches for size in sizes if size)


def _rounds_do_not(job: Job) -> Breach:
    grid, data = grid_of(job), degree(job, "data") or 1
    wanted, rows = grid.microbatches if grid else 1, row_span(job, data)[1]
    size = cast("int", job.constraints.get("microbatch", -(-rows // wanted)))
    batches = nearest_first({wanted * size * data, wanted * data}, job.training.global_batch)
    return Breach(
        key="plan.schedule",
        message=(
            f"the grid is drawn for {wanted} {'microbatch' if wanted == 1 else 'microbatches'}, "
            f"but the {counted(rows, 'sequence')} of a replica in microbatches of {size} are {-(-rows // size)}"
        ),
        remedies=(("plan.microbatch", (-(-rows // wanted),)), ("training.global_batch", batches)),
        legal=f"a grid of {-(-rows // size)} microbatches",
    )


_KEYS = frozenset({"plan.schedule", "plan.virtual_stages"})

SCHEDULE_RULES = (
    Rule(reads=frozenset({"plan.schedule"}), holds=_grid_is_sound, breach=_grid_is_not),
    Rule(reads=_KEYS | {"plan.pipeline", "plan.stages", "model.layers"}, holds=_stages_suit, breach=_stages_do_not),
    Rule(reads=frozenset({"plan.schedule", "plan.pipeline"}), holds=_rows_suit, breach=_rows_do_not),
    Rule(
        reads=frozenset(
            {
                "plan.schedule",
                "plan.data",
                "plan.data_shares",
                "plan.microbatch",
                "plan.synchronisation",
                "plan.servers",
                "training.global_batch",
            }
        ),
        holds=_rounds_suit,
        breach=_rounds_do_not,
    ),
)

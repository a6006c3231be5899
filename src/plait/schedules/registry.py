"""The schedules by the names that a job gives them (`plan.schedule`), or by their drawing (`grid`).

    gpipe, 1f1b, zb-h1    a stage a rank                     rank r has stage r
    interleaved           v stages a rank (virtual_stages)   rank r has stages r, r + p, …
    zb-v                  two stages a rank                  rank r has stages r and 2p - 1 - r
    a grid                as drawn

A new schedule is one module with its staircase and one line in these tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from plait.errors import PlaitError
from plait.schedules.action import Step
from plait.schedules.gpipe import gpipe
from plait.schedules.grid import read_grid
from plait.schedules.interleaved import interleaved
from plait.schedules.one_f_one_b import one_f_one_b
from plait.schedules.schedule import Schedule
from plait.schedules.zb_h1 import zb_h1
from plait.schedules.zb_v import zb_v
from plait.specs.grids import SCHEDULES, is_grid

__all__ = ["BUILT", "build_schedule", "divides_backward", "placement", "stages_a_rank"]

_ONE_STAGE: dict[str, Callable[[int, int], Schedule]] = {"gpipe": gpipe, "1f1b": one_f_one_b, "zb-h1": zb_h1}

BUILT = SCHEDULES


def build_schedule(kind: str, ranks: int, microbatches: int, virtual_stages: int = 1) -> Schedule:
    """The schedule called `kind`, or drawn. Raises PlaitError for a name that there is not, numbers that it can't be
    built for, or a grid of other ones; IllegalSchedule where the drawing has a mistake."""
    if is_grid(kind):
        return _from_grid(kind, ranks, microbatches)
    if kind not in BUILT:
        raise PlaitError(f'schedule = "{kind}" is no schedule; built are: {", ".join(BUILT)}')
    if kind == "interleaved":
        return interleaved(ranks, microbatches, virtual_stages)
    wanted = stages_a_rank(kind)
    if virtual_stages != wanted:
        raise PlaitError(f'schedule = "{kind}" has virtual_stages = {wanted}, not {virtual_stages}')
    return zb_v(ranks, microbatches) if kind == "zb-v" else _ONE_STAGE[kind](ranks, microbatches)


def stages_a_rank(kind: str) -> int | None:
    """The only `virtual_stages` with which a schedule goes; of a grid the most stages that one of its ranks has. None
    where it is a choice: any number from 2. Raises IllegalSchedule where a drawing has a mistake."""
    if is_grid(kind):
        return max(Counter(read_grid(kind).stage_rank).values())
    return {"interleaved": None, "zb-v": 2}.get(kind, 1)


def placement(kind: str, ranks: int, virtual_stages: int) -> tuple[int, ...]:
    """The rank of each stage. Raises IllegalSchedule where a drawing has a mistake."""
    if is_grid(kind):
        return read_grid(kind).stage_rank
    once = tuple(range(ranks))
    return (*once, *reversed(once)) if kind == "zb-v" else once * virtual_stages


def divides_backward(kind: str) -> bool:
    """Whether weights' gradients are made by actions of their own."""
    if is_grid(kind):
        return any(
            action.kind == "W" for program in read_grid(kind).schedule.programs for step in program for action in step
        )
    return kind in ("zb-h1", "zb-v")


def _from_grid(text: str, ranks: int, microbatches: int) -> Schedule:
    """A replica with fewer microbatches than the grid has leaves out what it lacks: nothing that stays waits for it."""
    grid = read_grid(text)
    if ranks != grid.ranks:
        raise PlaitError(f"the grid is drawn for {grid.ranks} ranks, and there are {ranks}")
    if not 1 <= microbatches <= grid.microbatches:
        raise PlaitError(f"the grid is drawn for {grid.microbatches} microbatches, and there are {microbatches}")
    if microbatches == grid.microbatches:
        return grid.schedule
    whole = grid.schedule
    programs = tuple(
        tuple(filter(None, (_of_first(step, microbatches) for step in program))) for program in whole.programs
    )
    return Schedule(
        kind=whole.kind, stages=whole.stages, microbatches=microbatches, stage_rank=whole.stage_rank, programs=programs
    )


def _of_first(step: Step, microbatches: int) -> Step:
    return tuple(action for action in step if action.microbatch < microbatches)

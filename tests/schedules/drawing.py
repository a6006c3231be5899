"""Schedules drawn as staircases, one column a unit of time, and programs with a fault planted by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from plait.schedules.action import COMPUTE, Action, Step
from plait.schedules.registry import build_schedule
from plait.schedules.schedule import Schedule
from plait.schedules.timeline import Timeline, simulate

Program = tuple[Step, ...]


def free(_: Action) -> float:
    return 0.0


def unit(_: Action) -> float:
    return 1.0


VIRTUAL = {"interleaved": 2, "zb-v": 2}  # stages a rank


def built(kind: str, ranks: int, microbatches: int) -> Schedule:
    """The schedule called `kind`, with two stages a rank where it has several."""
    return build_schedule(kind, ranks, microbatches, VIRTUAL.get(kind, 1))


def staircase(schedule: Schedule) -> list[list[str]]:
    """What each rank computes in each unit of time, if every computation takes one: `F0`, or `..` for a bubble; with
    its stage, where a rank has several."""
    timeline = simulate(schedule, unit, free, waits=False)
    several = schedule.stages > schedule.ranks
    lines = [["..." if several else ".."] * int(timeline.step_seconds) for _ in timeline.ranks]
    for line, timed in zip(lines, timeline.ranks, strict=True):
        for action, start, _ in timed:
            if action.kind in COMPUTE:
                line[int(start)] = str(action) if several else f"{action.kind}{action.microbatch}"
    return lines


def drawn(docstring: str | None) -> list[list[str]]:
    """The staircase in a module's docstring: its lines `rank 0   F0 F1 ..`."""
    lines = [line.split() for line in (docstring or "").splitlines()]
    return [words[2:] for words in lines if words[:1] == ["rank"]]


def ends(timeline: Timeline) -> dict[Action, float]:
    return {action: end for timed in timeline.ranks for action, _, end in timed}


def planted(schedule: Schedule, rank: int, fault: Callable[[Program], Program]) -> Schedule:
    """The schedule with one rank's program changed."""
    programs = [fault(program) if r == rank else program for r, program in enumerate(schedule.programs)]
    return replace(schedule, programs=tuple(programs))


def without(name: str) -> Callable[[Program], Program]:
    """A fault: the action is left out, of a fused group too."""
    kept = Action.parse(name)
    return lambda program: tuple(s for s in (tuple(a for a in step if a != kept) for step in program) if s)


def swapped(i: int, j: int) -> Callable[[Program], Program]:
    """A fault: two steps change places."""

    def fault(program: Program) -> Program:
        steps = list(program)
        steps[i], steps[j] = steps[j], steps[i]
        return tuple(steps)

    return fault


def unfused(program: Program) -> Program:
    """A fault: each action of a fused group waits for the one before it."""
    return tuple((action,) for step in program for action in step)


def listed(*lines: str) -> tuple[Program, ...]:
    """Programs as they print: a line a rank, steps apart, `+` within a fused group."""
    return tuple(tuple(tuple(map(Action.parse, step.split("+"))) for step in line.split()) for line in lines)

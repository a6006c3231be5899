"""Is a schedule legal? The rules of the list alone (`rules`), then that it runs (no deadlock) and fits in memory.

A refusal gives the rule, the numbers, and a drawing of the place:

    microbatch 2 is lost: stage 1 of 3 never performs 1F2
        rank 1 computes 1F0  1F1  1B0  1B1  1F3  1B2  1B3
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from plait.errors import IllegalSchedule
from plait.schedules.action import COMPUTE, Kind, step_text
from plait.schedules.rules import Fault, list_rules, positions
from plait.schedules.schedule import Schedule
from plait.schedules.timeline import simulate

__all__ = ["held_at_once", "held_microbatches", "validate"]


def validate(schedule: Schedule, training: bool = True, limit: Sequence[int] | None = None) -> None:
    """Raises IllegalSchedule, with the rule, the numbers and a drawing, unless the schedule is legal.

    `training=False` asks for a forward-only schedule. `limit[r]` is how many microbatches' activations rank r may hold.
    """
    found = positions(schedule)
    for rule in list_rules(training):
        _refuse(schedule, list(rule(schedule, found)))
    simulate(schedule, lambda _: 0.0, lambda _: 0.0)  # raises the cycle of waits
    if limit is not None:
        _refuse(schedule, list(_in_memory(schedule, limit)))


def held_microbatches(schedule: Schedule) -> tuple[int, ...]:
    """The most activations each rank holds at once, counted as (stage, microbatch) pairs from F to the end of B or W.

    GPipe: m on every rank; 1F1B: min(p - i, m) on rank i. A forward that no backward answers is held while it runs.
    """
    return tuple(max(map(sum, _held(schedule, rank)), default=0) for rank in range(schedule.ranks))


def held_at_once(schedule: Schedule, rank: int) -> tuple[tuple[int, ...], ...]:
    """The same, by the stages of `rank`, ascending: each moment at which no other has more of every stage.

    Interleaved with 2 stages a rank: ((4, 2),); a V, where either stage may be ahead: ((5, 3), (4, 4)).
    """
    found: list[tuple[int, ...]] = []
    for held in sorted(set(_held(schedule, rank)), reverse=True):
        if not any(all(more >= count for more, count in zip(other, held, strict=True)) for other in found):
            found.append(held)
    return tuple(found)


def _held(schedule: Schedule, rank: int) -> Iterator[tuple[int, ...]]:
    """What `rank` holds of each of its stages during each step of its program."""
    program = schedule.programs[rank]
    ends = (Kind.B, Kind.W)
    answered = {(action.stage, action.microbatch) for step in program for action in step if action.kind in ends}
    held = {stage: 0 for stage, place in enumerate(schedule.stage_rank) if place == rank}
    for step in program:
        for action in step:
            held[action.stage] += action.kind == Kind.F
        yield tuple(held.values())
        for action in step:
            unanswered = action.kind == Kind.F and (action.stage, action.microbatch) not in answered
            held[action.stage] -= unanswered or action.kind in ends


def _in_memory(schedule: Schedule, limit: Sequence[int]) -> Iterator[Fault]:
    if len(limit) != schedule.ranks:
        raise IllegalSchedule(f"a limit on held microbatches for each of {schedule.ranks} ranks, not {len(limit)}")
    for rank, allowed in enumerate(limit):
        held = list(map(sum, _held(schedule, rank)))
        if max(held, default=0) > allowed:
            first = next(i for i, count in enumerate(held) if count > allowed)
            message = f"microbatches held at once on rank {rank}: {max(held)}, above its limit of {allowed}"
            yield Fault(rank, first, message)


def _refuse(schedule: Schedule, faults: list[Fault]) -> None:
    """Raise the first faults, with the program around the first one drawn."""
    if not faults:
        return
    shown = [fault.message for fault in faults[:3]]
    if len(faults) > len(shown):
        shown.append(f"and {len(faults) - len(shown)} more of this kind")
    raise IllegalSchedule("\n".join([*shown, _excerpt(schedule, faults[0])]))


def _excerpt(schedule: Schedule, fault: Fault) -> str:
    """The faulty rank's program near the fault, the step in question underlined; without one, its computations."""
    program = schedule.programs[fault.rank]
    if fault.step is None:
        computed = "  ".join(step_text(step) for step in program if step and step[0].kind in COMPUTE)
        return f"    rank {fault.rank} computes {computed[:100]}" + (" …" if len(computed) > 100 else "")
    first, last = max(0, fault.step - 4), fault.step + 5
    before = f"    rank {fault.rank}: " + "".join(f"{step_text(step)}  " for step in program[first : fault.step])
    here = step_text(program[fault.step])
    after = "".join(f"  {step_text(step)}" for step in program[fault.step + 1 : last])
    return f"{before}{here}{after}\n{' ' * len(before)}{'^' * max(1, len(here))}"

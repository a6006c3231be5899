"""The rules that can be read off a schedule's list, each a function from the schedule to its faults.

    placed        every action belongs to a stage of its rank, every transfer goes to a stage of another rank
    complete      every stage performs each microbatch's F once, and its B (or I and W) once
    forward_only  the same where nothing goes backward
    matched       every send has its receive, every receive its send
    ordered       nothing is used before it is there: F before B, I before W, receive before use, compute before send
    same_order    two ranks send and receive their messages in the same order, since on the wire messages have no names

They are tried in this order and each may rely on those before it. `found` is where each action stands (`positions`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from plait.errors import IllegalSchedule
from plait.schedules.action import BACKWARD, COMPUTE, SENDS, Action, Kind, step_text
from plait.schedules.dependencies import needs
from plait.schedules.schedule import Schedule

__all__ = ["Fault", "Positions", "Rule", "list_rules", "positions"]

Positions = dict[Action, int]


class Fault(NamedTuple):
    """A broken rule: on which rank, at which step of its program (None: something is absent), in words."""

    rank: int
    step: int | None
    message: str


Rule = Callable[[Schedule, Positions], Iterator[Fault]]


def list_rules(training: bool) -> tuple[Rule, ...]:
    """The rules for a schedule that trains, or for one that only goes forward."""
    return (_placed, _complete if training else _forward_only, _matched, _ordered, _same_order)


def positions(schedule: Schedule) -> Positions:
    """The step at which each action first stands in its rank's program, in the order of the programs."""
    found: Positions = {}
    for program in schedule.programs:
        for i, step in enumerate(program):
            for action in step:
                found.setdefault(action, i)
    return found


def _placed(schedule: Schedule, found: Positions) -> Iterator[Fault]:
    ranks, placed = schedule.ranks, schedule.stage_rank
    if len(placed) != schedule.stages or not all(0 <= rank < ranks for rank in placed):
        said = f"{schedule.stages} stages on {ranks} ranks can't be placed as stage_rank = {placed}"
        raise IllegalSchedule(f"{said}: it names one rank, 0 to {ranks - 1}, for each stage")
    for rank, program in enumerate(schedule.programs):
        for i, step in enumerate(program):
            if not step or (len(step) > 1 and any(action.kind in COMPUTE for action in step)):
                yield Fault(rank, i, f"a step is one computation or a group of transfers, not {step_text(step)!r}")
            for action in step:
                complaint = _misplaced(action, rank, schedule)
                if complaint:
                    yield Fault(rank, i, f"{action} {complaint}")


def _misplaced(action: Action, rank: int, schedule: Schedule) -> str | None:
    last = schedule.stages - 1
    if not 0 <= action.stage <= last:
        return f"is of no stage: there are stages 0 to {last}"
    if not 0 <= action.microbatch < schedule.microbatches:
        return f"is of no microbatch: there are microbatches 0 to {schedule.microbatches - 1}"
    if schedule.stage_rank[action.stage] != rank:
        return f"stands on rank {rank}, but rank {schedule.stage_rank[action.stage]} performs stage {action.stage}"
    if not 0 <= action.peer <= last:
        return f"has no stage {action.peer} at its other end: there are stages 0 to {last}"
    if action.kind not in COMPUTE and schedule.stage_rank[action.peer] == rank:
        return f"stays on rank {rank}, which performs stage {action.peer} too: there is nothing to transfer"
    return None


def _complete(schedule: Schedule, found: Positions) -> Iterator[Fault]:
    yield from _repeated(schedule, found)
    yield from _lost_forwards(schedule, found)
    for stage, rank in enumerate(schedule.stage_rank):
        for k in range(schedule.microbatches):
            whole, inputs, weights = (Action(stage, kind, k) for kind in (Kind.B, Kind.I, Kind.W))
            if whole in found and (inputs in found or weights in found):
                yield Fault(rank, found[whole], f"stage {stage} goes backward twice: {whole} is {inputs} and {weights}")
            elif whole not in found and not (inputs in found and weights in found):
                lost = f"microbatch {k} is lost: stage {stage} of {schedule.stages} never goes backward on it"
                yield Fault(rank, None, f"{lost}, neither {whole} nor both of {inputs} and {weights}")


def _forward_only(schedule: Schedule, found: Positions) -> Iterator[Fault]:
    yield from _repeated(schedule, found)
    yield from _lost_forwards(schedule, found)
    for action, step in found.items():
        if action.kind in BACKWARD:
            yield Fault(schedule.stage_rank[action.stage], step, f"{action} has no place where only forward is run")


def _repeated(schedule: Schedule, found: Positions) -> Iterator[Fault]:
    seen = set[Action]()
    for rank, program in enumerate(schedule.programs):
        for i, step in enumerate(program):
            for action in step:
                if action in seen:
                    yield Fault(rank, i, f"{action} is performed twice, at steps {found[action] + 1} and {i + 1}")
                seen.add(action)


def _lost_forwards(schedule: Schedule, found: Positions) -> Iterator[Fault]:
    for stage, rank in enumerate(schedule.stage_rank):
        for k in range(schedule.microbatches):
            if (lost := Action(stage, Kind.F, k)) not in found:
                message = f"microbatch {k} is lost: stage {stage} of {schedule.stages} never performs {lost}"
                yield Fault(rank, None, message)


def _matched(schedule: Schedule, found: Positions) -> Iterator[Fault]:
    for action, step in found.items():
        if (other := action.counterpart) not in found:
            message = f"{action} has no {other}, which rank {schedule.stage_rank[other.stage]} should perform"
            yield Fault(schedule.stage_rank[action.stage], step, message)


def _ordered(schedule: Schedule, found: Positions) -> Iterator[Fault]:
    for action, step in found.items():
        rank = schedule.stage_rank[action.stage]
        for need in _needs(action, schedule):
            steps = [found[one] for one in need if one in found]
            wanted = " or ".join(map(str, need))
            if not steps:
                yield Fault(rank, step, f"{action} needs {wanted}, which rank {rank} never performs")
            elif min(steps) >= step:
                message = f"{action} at step {step + 1} comes before {wanted} at step {min(steps) + 1}, which it needs"
                yield Fault(rank, step, message)


def _needs(action: Action, schedule: Schedule) -> Iterator[tuple[Action, ...]]:
    """What must have ended on the same rank before `action` starts; of a tuple, one."""
    stage, kind, k = action
    if kind == Kind.SEND_F:
        yield (Action(stage, Kind.F, k),)
    if kind == Kind.SEND_B:
        yield Action(stage, Kind.B, k), Action(stage, Kind.I, k)
    if kind in COMPUTE:
        for options in needs(action, schedule.stages):
            near = schedule.stage_rank[options[0].stage] == schedule.stage_rank[stage]
            yield options if near else (Action(stage, Kind.RECV_F if kind == Kind.F else Kind.RECV_B, k),)


def _same_order(schedule: Schedule, found: Positions) -> Iterator[Fault]:
    sent: dict[tuple[int, int], list[Action]] = {}  # by (from rank, to rank), in the sender's order
    received: dict[tuple[int, int], list[Action]] = {}  # the same sends, in the receiver's order
    for action in found:
        here, there = schedule.stage_rank[action.stage], schedule.stage_rank[action.peer]
        if action.kind in SENDS:
            sent.setdefault((here, there), []).append(action)
        elif action.kind not in COMPUTE:
            received.setdefault((there, here), []).append(action.counterpart)
    for (here, there), sends in sent.items():
        for send, other in zip(sends, received[here, there], strict=True):
            if send != other:
                said = f"rank {here} sends {send} to rank {there}, which at that place receives {other.counterpart}"
                yield Fault(there, found[other.counterpart], f"{said}: messages between two ranks keep their order")
                break

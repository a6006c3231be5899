"""One plan of equal machines in detail: its stages balanced, its schedule played, every rank's memory and every term.

    layers ──balance──> stages ──play──> the pipeline's end ──> sums over data, optimizer
                                  └ once more with transfers for nothing: what they cost; other waiting is bubble

The terms are those of the rank with the most work, and add up to the step. A long schedule is played as far as it is
steady, and gone on with from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from plait.estimates.arrangements import Arrangements
from plait.estimates.coverage import spread_of
from plait.estimates.estimate import interval, reserved, running_out
from plait.estimates.memory import bytes_of_stage
from plait.estimates.step import Layer, Layers, layers_of
from plait.estimates.task import Task
from plait.estimates.weights import held_by
from plait.planner.balance import balanced_stages, dealt_blocks
from plait.plans.plan import Plan
from plait.plans.prediction import Terms
from plait.schedules.action import Action, Kind
from plait.schedules.registry import build_schedule
from plait.schedules.schedule import Schedule
from plait.schedules.timeline import Timeline, simulate

__all__ = [
    "KINDS",
    "Held",
    "Pipeline",
    "Played",
    "balanced",
    "ends_of",
    "held_at",
    "layers_of_stages",
    "pipeline_of",
    "pipeline_on",
    "played",
    "row_of",
    "schedule_of",
    "terms_of",
    "timeline_of",
]

KINDS = ("weights", "gradients", "optimizer", "activations", "logits")
_PARTS = {Kind.F: (1.0, 0.0), Kind.B: (0.0, 1.0), Kind.I: (0.0, 0.5), Kind.W: (0.0, 0.5)}  # of forward, of backward


@dataclass(frozen=True, kw_only=True)
class Held:
    """Bytes that a program allocates on a rank, by kind, those of its device that are then taken, and how likely it is
    that there are not as many."""

    kinds: dict[str, float]
    taken: int
    risk: float

    @property
    def dominant(self) -> str:
        """The kind of which there is the most."""
        return max(self.kinds, key=lambda name: self.kinds[name])


@dataclass(frozen=True, kw_only=True)
class Played:
    """A plan, its seconds, by what part of them four of five steps differ (`spread`), their terms, its `rounds`
    (microbatches of a step), and what ranks hold: `memory` of each
    kind of ranks, as many as `sizes` say, in the order of their numbers. Alike are those at one place along the
    pipeline; of unequal machines, in one group."""

    plan: Plan
    seconds: float
    spread: float
    terms: Terms
    rounds: int
    memory: tuple[Held, ...]
    sizes: tuple[int, ...]

    @property
    def interval(self) -> tuple[float, float]:
        """Where four of five such steps lie."""
        return interval(self.seconds, self.spread)

    @property
    def fullest(self) -> int:
        """The kind of ranks that is the likeliest to run out of memory; among equals the one that holds the most."""
        return max(range(len(self.memory)), key=lambda place: (self.memory[place].risk, self.memory[place].taken))

    @property
    def risk(self) -> float:
        """The probability that its fullest rank runs out of memory."""
        return self.memory[self.fullest].risk

    @property
    def memory_bytes(self) -> tuple[int, ...]:
        """Of each rank."""
        return self.of_ranks("taken")

    def of_ranks(self, *kinds: str) -> tuple[int, ...]:
        """The sum of these kinds of bytes, of each rank; "taken": what its device has to hold."""
        return tuple(
            size
            for held, count in zip(self.memory, self.sizes, strict=True)
            for size in [held.taken if kinds == ("taken",) else round(sum(held.kinds[kind] for kind in kinds))] * count
        )


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """The seconds of every stage, and of a transfer from each to the next; `places`: the rank of each stage."""

    kind: str
    places: tuple[int, ...]
    microbatches: int
    forward: tuple[float, ...]
    backward: tuple[float, ...]
    sends: tuple[float, ...]

    @property
    def ranks(self) -> int:
        """How many there are along the pipeline."""
        return max(self.places) + 1

    def busy(self, rank: int) -> float:
        """Seconds that a rank works in a step."""
        mine = [stage for stage, place in enumerate(self.places) if place == rank]
        return self.microbatches * sum(self.forward[stage] + self.backward[stage] for stage in mine)


def played(plan: Plan, task: Task) -> Played:
    """A plan on the task's equal machines, priced and played."""
    layers = layers_of(task, row_of(plan), np.array(_blocks_of_ranks(plan)))
    pipeline = pipeline_of(plan, layers, task)
    end, without = ends_of(pipeline)
    busiest = max(range(pipeline.ranks), key=pipeline.busy)
    mine = [one for stage, place in enumerate(pipeline.places) if place == busiest
            for one in layers_of_stages(plan.stages, layers)[stage]]  # fmt: skip
    terms = terms_of(
        pipeline, end, without, busiest, mine,
        data=max(layers.data), optimizer=max(layers.optimizer) + layers.fixed, slower=layers.slower,
    )  # fmt: skip
    each = plan.ranks // plan.pipeline
    return Played(
        plan=plan,
        seconds=terms.seconds,
        spread=spread_of(task.machines.device, task.dtype),
        terms=terms,
        rounds=pipeline.microbatches,
        memory=_memory(plan, task),
        sizes=(each,) * plan.pipeline,
    )


def pipeline_on(plan: Plan, task: Task) -> Pipeline:
    """The pipeline of a plan on the task's equal machines."""
    return pipeline_of(plan, layers_of(task, row_of(plan), np.array(_blocks_of_ranks(plan))), task)


def terms_of(
    pipeline: Pipeline,
    end: float,
    without: float,
    busiest: int,
    mine: Sequence[Layer],
    *,
    data: float,
    optimizer: float,
    slower: float,
) -> Terms:
    """Where the seconds of a step go whose pipeline takes until `end`, or `without` transfers. `mine`: the layers of
    the busiest rank; `data`, `optimizer`: what comes after the pipeline."""
    work, m = pipeline.busy(busiest), pipeline.microbatches
    waits = {axis: m * sum(getattr(one, axis) for one in mine) for axis in ("tensor", "context", "expert")}
    transfers = max(0.0, end - without)
    exposed = {"data": data, **waits, "pipeline": transfers}
    return Terms(
        compute=slower * (work - sum(waits.values())),
        bubble=slower * max(0.0, end - work - transfers),
        optimizer=slower * optimizer,
        exposed={name: slower * seconds for name, seconds in exposed.items()},
    )


def row_of(plan: Plan) -> Arrangements:
    """The plan as a row."""
    return Arrangements.of_plans([plan])


# ---- stages ---------------------------------------------------------------------------------------------------------


def _blocks_of_ranks(plan: Plan) -> tuple[int, ...]:
    places = plan.stage_rank
    return tuple(
        sum(size for size, place in zip(plan.stages, places, strict=True) if place == rank)
        for rank in range(plan.pipeline)
    )


def balanced(task: Task, row: Arrangements, schedule: str) -> tuple[int, ...]:
    """How many blocks each stage of a plan gets so that the slowest is as fast as can be."""
    pipeline, stages = int(row.pipeline[0]), int(row.pipeline[0] * row.virtual_stages[0])
    layers = layers_of(task, row, np.full(pipeline, task.model.layers // pipeline))
    return _balanced(
        tuple(block.seconds for block in layers.blocks), stages, layers.embedding.seconds, layers.head.seconds
    )


@lru_cache(maxsize=4096)
def _balanced(blocks: tuple[float, ...], stages: int, embedding: float, head: float) -> tuple[int, ...]:
    if len(set(blocks)) > 1:
        return balanced_stages(blocks, stages, embedding=embedding, head=head)
    beside = [0.0] * stages
    beside[0] += embedding
    beside[-1] += head
    return dealt_blocks(len(blocks), [blocks[0]] * stages, beside=beside)


def pipeline_of(plan: Plan, layers: Layers, task: Task) -> Pipeline:
    """The seconds of each of its stages."""
    places = plan.stage_rank
    own = layers_of_stages(plan.stages, layers)
    whole = [sum(size for size, at in zip(plan.stages, places, strict=True) if at == place) for place in places]
    added = [layers.added[place] * plan.stages[stage] / whole[stage] for stage, place in enumerate(places)]
    return Pipeline(
        kind=plan.schedule,
        places=places,
        microbatches=int(row_of(plan).microbatches(task.global_batch)[0]),
        forward=tuple(sum(one.forward for one in stage) for stage in own),
        backward=tuple(sum(one.backward for one in stage) + more for stage, more in zip(own, added, strict=True)),
        sends=(layers.send,) * (len(places) - 1),
    )


def layers_of_stages(stages: Sequence[int], layers: Layers) -> list[list[Layer]]:
    """The layers of each stage, embedding and head among them."""
    ends = np.cumsum(stages)
    own = [list(layers.blocks[end - size : end]) for end, size in zip(ends, stages, strict=True)]
    own[0].append(layers.embedding)
    own[-1].append(layers.head)
    return own


# ---- the schedule ---------------------------------------------------------------------------------------------------


def schedule_of(pipeline: Pipeline) -> Schedule:
    """The list of actions."""
    each = len(pipeline.places) // pipeline.ranks
    return build_schedule(pipeline.kind, pipeline.ranks, pipeline.microbatches, each)


def timeline_of(pipeline: Pipeline) -> Timeline:
    """When each action happens."""
    return simulate(schedule_of(pipeline), _seconds(pipeline), lambda send: pipeline.sends[min(send.stage, send.peer)])


def _seconds(pipeline: Pipeline) -> Callable[[Action], float]:
    def seconds(action: Action) -> float:
        ahead, back = _PARTS[action.kind]
        return ahead * pipeline.forward[action.stage] + back * pipeline.backward[action.stage]

    return seconds


def ends_of(pipeline: Pipeline) -> tuple[float, float]:
    """Seconds until the last action has ended, and the same with transfers for nothing."""
    if pipeline.ranks == 1:
        return pipeline.busy(0), pipeline.busy(0)
    return _end(pipeline), _end(replace(pipeline, sends=(0.0,) * len(pipeline.sends)))


@lru_cache(maxsize=4096)
def _end(pipeline: Pipeline) -> float:
    """As far as it is steady, and on from there: a group of as many microbatches as ranks takes as long as the last."""
    p, m = pipeline.ranks, pipeline.microbatches
    if m <= 4 * p:
        return timeline_of(pipeline).step_seconds
    first = 2 * p + (m - 2 * p) % p
    one, two = (timeline_of(replace(pipeline, microbatches=count)).step_seconds for count in (first, first + p))
    return two + (two - one) * ((m - first - p) // p)


# ---- memory ---------------------------------------------------------------------------------------------------------


def _memory(plan: Plan, task: Task) -> tuple[Held, ...]:
    blocks = _blocks_of_ranks(plan)
    return tuple(held_at(plan, task, place, blocks[place]) for place in range(plan.pipeline))


def held_at(plan: Plan, task: Task, place: int, blocks: int) -> Held:
    """What a rank at a place along the pipeline holds, with so many blocks."""
    row, last = row_of(plan), plan.pipeline - 1
    turns = plan.schedule == "zb-v"
    part = "first" if place == 0 else "last" if place == last else "middle"
    held = held_by(task, row, part, np.array([float(blocks)]))
    heads = np.array([place == (0 if turns else last)])
    found = bytes_of_stage(task, row, held, place, heads)
    kinds = {name: float(getattr(found, name)[0]) for name in KINDS}
    total = np.array([sum(kinds.values())])
    return Held(kinds=kinds, taken=round(float(reserved(total)[0])), risk=float(running_out(task, total)[0]))

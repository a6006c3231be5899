"""The stages of a plan in seconds, and their schedule played.

    layers ──balance──> stages ──play──> the pipeline's end
                                  └ once more with transfers for nothing: what they cost

A long schedule is played as far as it is steady, and gone on with from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np

from plait.estimates.arrangements import Arrangements
from plait.estimates.layers import Layer, Layers, layers_of
from plait.estimates.task import Task
from plait.planner.balance import balanced_stages, dealt_blocks
from plait.plans.plan import Plan
from plait.schedules.action import Action, Kind
from plait.schedules.registry import build_schedule
from plait.schedules.schedule import Schedule
from plait.schedules.timeline import Timeline, simulate

__all__ = [
    "Pipeline",
    "actions_played",
    "balanced",
    "blocks_of_ranks",
    "ends_of",
    "layers_of_stages",
    "pipeline_of",
    "pipeline_on",
    "pipeline_through",
    "row_of",
    "timeline_of",
]


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """The seconds of every stage, and of a transfer from each to the next; `places`: the rank of each stage. `weights`:
    those of backward that an action W takes, where there is one."""

    kind: str
    places: tuple[int, ...]
    microbatches: int
    forward: tuple[float, ...]
    backward: tuple[float, ...]
    weights: tuple[float, ...]
    sends: tuple[float, ...]

    @property
    def ranks(self) -> int:
        """How many there are along the pipeline."""
        return max(self.places) + 1

    def busy(self, rank: int) -> float:
        """Seconds that a rank works in a step."""
        mine = [stage for stage, place in enumerate(self.places) if place == rank]
        return self.microbatches * sum(self.forward[stage] + self.backward[stage] for stage in mine)


def pipeline_on(plan: Plan, task: Task) -> Pipeline:
    """The pipeline of a plan on the task's equal machines."""
    return pipeline_of(plan, layers_of(task, row_of(plan), np.array(blocks_of_ranks(plan))), task)


def pipeline_of(plan: Plan, layers: Layers, task: Task) -> Pipeline:
    """The seconds of each of its stages. Gradients are added up where those of weights are made."""
    places = plan.stage_rank
    own = layers_of_stages(plan.stages, layers)
    whole = [sum(size for size, at in zip(plan.stages, places, strict=True) if at == place) for place in places]
    added = [layers.added[place] * plan.stages[stage] / whole[stage] for stage, place in enumerate(places)]
    return pipeline_through(
        own,
        added,
        kind=plan.schedule,
        places=places,
        microbatches=int(row_of(plan).microbatches(task.global_batch)[0]),
        sends=tuple(layers.send(here, there) for here, there in pairwise(places)),
    )


def pipeline_through(
    own: Sequence[Sequence[Layer]],
    added: Sequence[float],
    *,
    kind: str,
    places: tuple[int, ...],
    microbatches: int,
    sends: tuple[float, ...] = (),
) -> Pipeline:
    """The pipeline of stages with these layers, each of which adds gradients up for so many seconds a microbatch."""
    each = list(zip(own, added, strict=True))
    return Pipeline(
        kind=kind,
        places=places,
        microbatches=microbatches,
        forward=tuple(sum(one.forward for one in stage) for stage in own),
        backward=tuple(sum(one.backward for one in stage) + more for stage, more in each),
        weights=tuple(sum(one.weights for one in stage) + more for stage, more in each),
        sends=sends,
    )


def row_of(plan: Plan) -> Arrangements:
    """The plan as a row."""
    return Arrangements.of_plans([plan])


# ---- stages ---------------------------------------------------------------------------------------------------------


def blocks_of_ranks(plan: Plan) -> tuple[int, ...]:
    """How many each rank along the pipeline has, all its stages together."""
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


def layers_of_stages(stages: Sequence[int], layers: Layers) -> list[list[Layer]]:
    """The layers of each stage, embedding and head among them."""
    ends = np.cumsum(stages)
    own = [list(layers.blocks[end - size : end]) for end, size in zip(ends, stages, strict=True)]
    own[0].append(layers.embedding)
    own[-1].append(layers.head)
    return own


# ---- the schedule ---------------------------------------------------------------------------------------------------


def timeline_of(pipeline: Pipeline) -> Timeline:
    """When each action happens; a send is waited for by the next transfer, as the executor does."""

    def transfer(send: Action) -> float:
        return pipeline.sends[min(send.stage, send.peer)]

    return simulate(_schedule(pipeline), _seconds(pipeline), transfer, waits=False)


def _schedule(pipeline: Pipeline) -> Schedule:
    each = len(pipeline.places) // pipeline.ranks
    return build_schedule(pipeline.kind, pipeline.ranks, pipeline.microbatches, each)


def _seconds(pipeline: Pipeline) -> Callable[[Action], float]:
    def seconds(action: Action) -> float:
        weights, stage = pipeline.weights[action.stage], action.stage
        match action.kind:
            case Kind.F:
                return pipeline.forward[stage]
            case Kind.I:
                return pipeline.backward[stage] - weights
            case Kind.W:
                return weights
            case _:
                return pipeline.backward[stage]

    return seconds


def ends_of(pipeline: Pipeline) -> tuple[float, float]:
    """Seconds until the last action has ended, and the same with transfers for nothing."""
    if pipeline.ranks == 1:
        return pipeline.busy(0), pipeline.busy(0)
    return _end(pipeline), _end(replace(pipeline, sends=(0.0,) * len(pipeline.sends)))


def actions_played(plan: Plan, rounds: int) -> int:
    """About how many computations are played to know the end of its pipeline."""
    return 2 * len(plan.stages) * min(rounds, 4 * plan.pipeline) * (plan.pipeline > 1)


@lru_cache(maxsize=4096)
def _end(pipeline: Pipeline) -> float:
    """As far as it is steady, and on from there: a group of as many microbatches as ranks takes as long as the last."""
    p, m = pipeline.ranks, pipeline.microbatches
    if m <= 4 * p:
        return timeline_of(pipeline).step_seconds
    first = 2 * p + (m - 2 * p) % p
    one, two = (timeline_of(replace(pipeline, microbatches=count)).step_seconds for count in (first, first + p))
    return two + (two - one) * ((m - first - p) // p)

"""One plan of unequal machines in detail: each stage, or each group's replicas, at the speed of the machines it is on.

    stages      s0, s1 on group 0 │ s2 on group 1       one pipeline; each stage its own work, sums and optimizer
    replicas    on group 0 │ on group 1                 a pipeline of one stage each, and the last to end is waited for

It prices plans, and looks for none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from operator import mul

import numpy as np

from plait.clusters.pipelines import Pipeline, ends_of, layers_of_stages, pipeline_through, row_of
from plait.clusters.played import Held, Played, held_at, hosts_of, terms_of
from plait.errors import UnusableInput
from plait.estimates.coverage import spread_of
from plait.estimates.layers import Layers, layers_of
from plait.estimates.task import Task
from plait.planner.balance import dealt_blocks
from plait.plans.plan import Plan
from plait.plans.rows import row_counts
from plait.specs.machines import Machines

__all__ = ["Bench", "groups_of_stages", "pipelines_of", "played_on_groups", "seconds_of_replicas"]


class Bench:
    """The groups' tasks, and what was worked out for them: plans that differ in their schedule alone share parts."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self._layers: dict[Plan, list[Layers]] = {}

    def layers(self, plan: Plan) -> list[Layers]:
        """At each group's speed."""
        key = replace(plan, schedule="1f1b", data_shares=(1,) * plan.data)
        if key not in self._layers:
            self._layers[key] = _layers(plan, self.tasks)
        return self._layers[key]

    def played(self, plan: Plan) -> Played:
        """In detail."""
        return _played(plan, self.tasks, self.layers(plan))


def played_on_groups(plan: Plan, tasks: Sequence[Task]) -> Played:
    """A plan on unequal machines, priced and played. Raises UnusableInput for one that has no price."""
    return _played(plan, tasks, _layers(plan, tasks))


def _played(plan: Plan, tasks: Sequence[Task], layers: Sequence[Layers]) -> Played:
    pipelines = _pipelines(plan, tasks, layers)
    done = [ends_of(one) for one in pipelines]
    slowest = max(range(len(done)), key=lambda place: done[place][0])
    pipeline, (end, without) = pipelines[slowest], done[slowest]
    busiest = max(range(pipeline.ranks), key=pipeline.busy)
    groups = groups_of_stages(plan, tasks) if plan.pipeline > 1 else (slowest,)
    mine = layers_of_stages(plan.stages, layers[groups[busiest]])[busiest]
    data, optimizer = _after(plan, tasks, layers)
    terms = terms_of(
        pipeline, end, without, busiest, mine, data=data, optimizer=optimizer + layers[0].fixed,
        slower=1 + tasks[0].constants.jitter * float(np.log2(plan.ranks)),
    )  # fmt: skip
    memory, sizes = _memory(plan, tasks)
    return Played(
        plan=plan, seconds=terms.seconds, spread=max(spread_of(task.machines.device, task.dtype) for task in tasks),
        terms=terms, rounds=pipeline.microbatches, memory=memory, sizes=sizes, hosts=hosts_of(memory, sizes, tasks),
        machines=tasks[groups[busiest]].machines, even=_even(plan, tasks, layers),
    )  # fmt: skip


def _even(plan: Plan, tasks: Sequence[Task], layers: Sequence[Layers]) -> float:
    """What part of the time until its last replica has ended is left where microbatches are dealt out by speed."""
    count = -(-tasks[0].global_batch // plan.microbatch)
    if count < plan.data:
        return 1.0
    seconds = [1.0] * plan.data if plan.pipeline > 1 else seconds_of_replicas(plan, tasks, layers)
    dealt = dealt_blocks(count, seconds, beside=[0.0] * plan.data)
    now = [-(-rows // plan.microbatch) for rows in row_counts(plan, tasks[0].global_batch)]
    return min(1.0, max(map(mul, dealt, seconds)) / max(map(mul, now, seconds)))


def _after(plan: Plan, tasks: Sequence[Task], layers: Sequence[Layers]) -> tuple[float, float]:
    """Seconds of sums over data and of the optimizer: of the stage, or the replica, where each takes longest."""
    if plan.pipeline == 1:
        return max(one.data[0] for one in layers), max(one.optimizer[0] for one in layers)
    held = [(layers[group], stage) for stage, group in enumerate(groups_of_stages(plan, tasks))]
    return max(one.data[stage] for one, stage in held), max(one.optimizer[stage] for one, stage in held)


def pipelines_of(plan: Plan, tasks: Sequence[Task]) -> list[Pipeline]:
    """The pipeline through all groups; or, of one stage, that of the replica of each group which has the most rows."""
    return _pipelines(plan, tasks, _layers(plan, tasks))


def _pipelines(plan: Plan, tasks: Sequence[Task], layers: Sequence[Layers]) -> list[Pipeline]:
    if plan.pipeline == 1:
        counts = row_counts(plan, tasks[0].global_batch)
        ends = list(accumulate(task.machines.ranks // plan.tensor for task in tasks))
        most = [max(counts[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
        return [_replica(plan, one, rows) for one, rows in zip(layers, most, strict=True)]
    groups = groups_of_stages(plan, tasks)
    own = [layers_of_stages(plan.stages, layers[group])[stage] for stage, group in enumerate(groups)]
    added = [layers[group].added[stage] for stage, group in enumerate(groups)]
    return [
        pipeline_through(
            own, added, kind=plan.schedule, places=tuple(range(plan.pipeline)),
            microbatches=-(-max(row_counts(plan, tasks[0].global_batch)) // plan.microbatch),
            sends=tuple(_send(layers, groups, stage) for stage in range(plan.pipeline - 1)),
        )
    ]  # fmt: skip


def _send(layers: Sequence[Layers], groups: Sequence[int], stage: int) -> float:
    """Seconds of a transfer from a stage to the next: by the hosts of their group, or between groups by the slower."""
    here, there = groups[stage], groups[stage + 1]
    if here != there:
        return max(layers[here].far, layers[there].far)
    place = stage - groups.index(here)
    return layers[here].send(place, place + 1)


def _replica(plan: Plan, layers: Layers, rows: int) -> Pipeline:
    own, rounds = layers_of_stages(plan.stages, layers), -(-rows // plan.microbatch)
    return pipeline_through(own, layers.added, kind=plan.schedule, places=(0,), microbatches=rounds)


def seconds_of_replicas(plan: Plan, tasks: Sequence[Task], layers: Sequence[Layers]) -> list[float]:
    """Seconds of a microbatch in each replica of one stage."""

    def seconds(own: Layers) -> float:
        return sum(one.seconds for one in layers_of_stages(plan.stages, own)[0]) + own.added[0]

    return [seconds(own) for task, own in zip(tasks, layers, strict=True)
            for _ in range(task.machines.ranks // plan.tensor)]  # fmt: skip


def _layers(plan: Plan, tasks: Sequence[Task]) -> list[Layers]:
    """The plan's layers at each group's speed; what is summed over data in one stage on several groups goes over the
    slowest of their links."""
    blocks = np.array(plan.stages)
    if plan.pipeline > 1:
        return [layers_of(task, row_of(plan), blocks) for task in tasks]
    slowest = min(
        (task.machines for task in tasks), key=lambda one: one.between.bytes_per_second / one.devices_per_node
    )
    return [
        layers_of(replace(task, machines=_joined(task.machines, slowest, plan.ranks)), row_of(plan), blocks)
        for task in tasks
    ]


def _joined(own: Machines, slowest: Machines, ranks: int) -> Machines:
    """A group's machines, in a group's number of all: what goes between them goes as slowly as between the slowest."""
    each = own.devices_per_node
    between = replace(slowest.between, reached=slowest.between.reached * each / slowest.devices_per_node)
    return replace(own, nodes=-(-ranks // each), between=between)


def groups_of_stages(plan: Plan, tasks: Sequence[Task]) -> tuple[int, ...]:
    """The group of each stage. Raises UnusableInput for a stage that stands on two."""
    each, ends = plan.ranks // plan.pipeline, list(accumulate(task.machines.ranks for task in tasks))
    groups: list[int] = []
    for stage in range(plan.pipeline):
        first, last = stage * each, (stage + 1) * each - 1
        mine = [next(group for group, end in enumerate(ends) if rank < end) for rank in (first, last)]
        if mine[0] != mine[1]:
            raise UnusableInput(
                f"stage {stage} has ranks {first} to {last}, of two groups of machines: such a plan can't be priced "
                "yet; data × tensor must divide the devices of each group"
            )
        groups.append(mine[0])
    return tuple(groups)


def _memory(plan: Plan, tasks: Sequence[Task]) -> tuple[tuple[Held, ...], tuple[int, ...]]:
    if plan.pipeline == 1:
        held = tuple(held_at(plan, task, 0, plan.stages[0]) for task in tasks)
        return held, tuple(task.machines.ranks for task in tasks)
    groups = groups_of_stages(plan, tasks)
    held = tuple(held_at(plan, tasks[group], place, plan.stages[place]) for place, group in enumerate(groups))
    return held, (plan.ranks // plan.pipeline,) * plan.pipeline

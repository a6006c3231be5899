"""One plan of equal machines in detail: its schedule played, every rank's memory and every term.

    pipeline ──play──> its end ──> sums over data, optimizer
                 └ what transfers cost; other waiting is bubble

The terms are those of the rank with the most work, and add up to the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plait.clusters.hosts import FullestHost, fullest_hosts
from plait.clusters.pipelines import (
    Pipeline,
    blocks_of_ranks,
    ends_of,
    layers_of_stages,
    pipeline_of,
    row_of,
)
from plait.estimates.coverage import spread_of
from plait.estimates.estimate import fullness, interval, reserved, running_out
from plait.estimates.layers import Layer, layers_of
from plait.estimates.memory import bytes_of_stage
from plait.estimates.offload import kept_in_host
from plait.estimates.task import Task
from plait.estimates.weights import held_by
from plait.plans.plan import Plan
from plait.plans.prediction import Terms
from plait.specs.machines import Machines

__all__ = ["KINDS", "Held", "Played", "held_at", "hosts_of", "played", "terms_of"]

KINDS = ("weights", "gradients", "optimizer", "activations", "logits")


@dataclass(frozen=True, kw_only=True)
class Held:
    """Bytes that a program allocates on a rank, by kind, those of its device that are then taken, how likely it is that
    there are not as many, what part of what there is they `fill`, and the bytes in its host's memory."""

    kinds: dict[str, float]
    taken: int
    risk: float
    fill: float
    host: float

    @property
    def dominant(self) -> str:
        """The kind of which there is the most."""
        return max(self.kinds, key=lambda name: self.kinds[name])


@dataclass(frozen=True, kw_only=True)
class Played:
    """A plan, its seconds, by what part of them four of five steps differ (`spread`), their terms, its `rounds`
    (microbatches of a step), and what ranks hold: `memory` of each kind of ranks, as many as `sizes` say, in the order
    of their numbers. Alike are those at one place along the pipeline; of unequal machines, in one group. `hosts`: of
    each group of machines the one in whose memory most is kept; `machines`: those of the rank whose terms these are;
    `even`: what part of the time until its last replica has ended is left where microbatches are dealt out by speed."""

    plan: Plan
    seconds: float
    spread: float
    terms: Terms
    rounds: int
    memory: tuple[Held, ...]
    sizes: tuple[int, ...]
    hosts: tuple[FullestHost, ...]
    machines: Machines
    even: float = 1.0

    @property
    def interval(self) -> tuple[float, float]:
        """Where four of five such steps lie."""
        return interval(self.seconds, self.spread)

    @property
    def fullest(self) -> int:
        """The kind of ranks that is the likeliest to run out of memory; among equals the one that fills it most."""
        return max(range(len(self.memory)), key=lambda place: (self.memory[place].risk, self.memory[place].fill))

    @property
    def risk(self) -> float:
        """The probability that its fullest rank, or a host, runs out of memory."""
        return 1.0 if any(one.overflows for one in self.hosts) else self.memory[self.fullest].risk

    @property
    def fill(self) -> float:
        """What part of its memory that rank needs, or a host where that is fuller."""
        return max(self.memory[self.fullest].fill, *(one.fill for one in self.hosts))

    @property
    def host_bytes(self) -> int:
        """In the memory of the host in which it keeps most; 0 without offload."""
        return max(one.held for one in self.hosts)

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


def played(plan: Plan, task: Task) -> Played:
    """A plan on the task's equal machines, priced and played."""
    layers = layers_of(task, row_of(plan), np.array(blocks_of_ranks(plan)))
    pipeline = pipeline_of(plan, layers, task)
    end, without = ends_of(pipeline)
    busiest = max(range(pipeline.ranks), key=pipeline.busy)
    mine = [one for stage, place in enumerate(pipeline.places) if place == busiest
            for one in layers_of_stages(plan.stages, layers)[stage]]  # fmt: skip
    terms = terms_of(
        pipeline, end, without, busiest, mine,
        data=max(layers.data), optimizer=max(layers.optimizer) + layers.fixed, slower=layers.slower,
    )  # fmt: skip
    memory, sizes = _memory(plan, task), (plan.ranks // plan.pipeline,) * plan.pipeline
    return Played(
        plan=plan,
        seconds=terms.seconds,
        spread=spread_of(task.machines.device, task.dtype),
        terms=terms,
        rounds=pipeline.microbatches,
        memory=memory,
        sizes=sizes,
        hosts=hosts_of(memory, sizes, [task]),
        machines=task.machines,
    )


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


# ---- memory ---------------------------------------------------------------------------------------------------------


def _memory(plan: Plan, task: Task) -> tuple[Held, ...]:
    blocks = blocks_of_ranks(plan)
    return tuple(held_at(plan, task, place, blocks[place]) for place in range(plan.pipeline))


def hosts_of(memory: Sequence[Held], sizes: Sequence[int], tasks: Sequence[Task]) -> tuple[FullestHost, ...]:
    """The fullest host of each group, where so many ranks hold this each."""
    of_ranks = [held.host for held, count in zip(memory, sizes, strict=True) for _ in range(count)]
    return fullest_hosts(of_ranks, [task.machines for task in tasks])


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
    return Held(
        kinds=kinds,
        taken=round(float(reserved(total)[0])),
        risk=float(running_out(task, total)[0]),
        fill=float(fullness(task, total)[0]),
        host=float(kept_in_host(task, row, held)[0]),
    )

"""One plan layer by layer, for whoever plays its schedule: seconds of each layer, of transfers, and of what follows.

It is worked out from the same parts as the columns of `step`, so that a plan played and a plan in a column differ in
nothing but the schedule.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from plait.estimates.arrangements import Arrangements, Column, Numbers
from plait.estimates.block import Parts
from plait.estimates.pipeline import crosses, transfers
from plait.estimates.stages import Stages, gpu, total
from plait.estimates.step import Sums
from plait.estimates.task import Task

__all__ = ["Layer", "Layers", "layers_of"]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Seconds of a microbatch in one layer. Of these `tensor`, `context` and `expert` wait for those axes; `weights`,
    of backward, are the products that an action W makes."""

    forward: float
    backward: float
    weights: float
    tensor: float
    context: float
    expert: float

    @property
    def seconds(self) -> float:
        """Both passes."""
        return self.forward + self.backward


@dataclass(frozen=True, kw_only=True)
class Layers:
    """One plan, layer by layer. `near`, `far`: seconds of one transfer inside a domain and to another one; a place
    along the pipeline has `each` ranks, a domain `domain`. `added`, `data` and `optimizer`: of a rank at each place;
    the first once a microbatch (what it adds to its gradients), the others once a step. `fixed`: seconds of a step that
    no stage has; `slower`: how many times longer all takes for waiting for the slowest device."""

    blocks: tuple[Layer, ...]
    embedding: Layer
    head: Layer
    near: float
    far: float
    each: int
    domain: int
    added: tuple[float, ...]
    data: tuple[float, ...]
    optimizer: tuple[float, ...]
    fixed: float
    slower: float

    def send(self, here: int, there: int) -> float:
        """Seconds of a transfer between two places of these machines, the one with their first rank being 0."""
        return self.far if crosses(self.domain, self.each, here, there) else self.near


def layers_of(task: Task, plan: Arrangements, ranks: Numbers) -> Layers:
    """The parts of one plan (a row), whose ranks along the pipeline have so many blocks each."""
    plans = plan.rows(np.zeros(len(ranks), dtype=np.int64))
    stages, constants = Stages(task, plans), task.constants
    sums = Sums(stages)
    m, blocks = plans.microbatches(task.global_batch), stages.blocks()
    mine: Column = ranks.astype(np.float64)
    last = (np.arange(len(ranks)) == len(ranks) - 1) * 1.0
    own = total(blocks.times(mine), stages.whole(stages.head).times(last))
    each = {kind: _layer(stages, parts) for kind, parts in stages.kinds.items()}
    sent = transfers(task, plans, stages.network)
    return Layers(
        blocks=tuple(each[stages.kind(number)] for number in range(task.model.layers)),
        embedding=_layer(stages, stages.embedding), head=_layer(stages, stages.head),
        near=float(sent.near[0]), far=float(sent.far[0]),
        each=int(plans.ranks[0] // plans.pipeline[0]), domain=task.machines.domain,
        added=tuple(map(float, sums.accumulated(mine, m))),
        data=tuple(map(float, sums.data(mine, m, own, blocks))),
        optimizer=tuple(map(float, sums.optimizer(mine))),
        fixed=constants.step, slower=float(1 + constants.jitter * np.log2(plans.ranks[0])),
    )  # fmt: skip


def _layer(stages: Stages, parts: Parts) -> Layer:
    """Both passes as the whole takes them: where launching kernels is slower, forward has its part of that."""
    back = parts.backward + parts.again
    if stages.divided[0]:
        back = replace(back, tensor=back.tensor + back.hidden)
    both = parts.forward + back
    seconds, work = float(stages.seconds(both)[0]), float(gpu(both)[0])
    scale = seconds / work if work else 0.0
    forward, weights = scale * float(gpu(parts.forward)[0]), scale * float(both.weights[0])
    waits = {name: float(getattr(both, name)[0]) for name in ("tensor", "context", "expert")}
    return Layer(forward=forward, backward=seconds - forward, weights=weights, **waits)

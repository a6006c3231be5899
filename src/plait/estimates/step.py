"""A step of each plan, in seconds: stages make a pipeline; sums and the optimizer come after it.

    pipeline     microbatches · the slowest rank, what it waits for its neighbours, and the bubble
    data         gradients' sum, less what backward hides (`overlap`): under ZeRO 2 and 3 that of every microbatch, and
                 under ZeRO 3 weights of every block, twice; and the sum of what several tensor ranks have
    optimizer    bytes of its state / bandwidth; under offload on the host (`offload`)

It prices columns of plans; `layers` takes one of them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plait.estimates.arrangements import Arrangements, Column, Numbers
from plait.estimates.block import Part
from plait.estimates.offload import update_in_host
from plait.estimates.overlap import in_pieces, late, travelling
from plait.estimates.pipeline import Work, bubble, transfers
from plait.estimates.rank_groups import rank_group
from plait.estimates.stages import Stages, gpu, total
from plait.estimates.task import Task
from plait.estimates.weights import Held, held_by
from plait.estimates.widths import kv_copies

__all__ = ["Sums", "Times", "floors", "times"]


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds a step, column by column, and where they go."""

    step: Column
    compute: Column
    bubble: Column
    optimizer: Column
    tensor: Column
    context: Column
    expert: Column
    data: Column
    pipeline: Column


def floors(task: Task, plans: Arrangements) -> Column:
    """Seconds that a step can't be shorter than, whatever its schedule and its ZeRO level: what the rank with the most
    work does. `times` is never less."""
    stages = Stages(task, plans)
    blocks, head = stages.blocks(), stages.whole(stages.head)
    mine, busiest_head = stages.bottleneck(blocks, head)
    own = total(blocks.times(mine), head.times(busiest_head))
    slower = 1 + task.constants.jitter * np.log2(plans.ranks)
    return plans.microbatches(task.global_batch) * stages.seconds(own) * slower


def times(task: Task, plans: Arrangements) -> Times:
    """Seconds of a step under each plan."""
    stages = Stages(task, plans)
    sums = Sums(stages)
    p, m = plans.pipeline, plans.microbatches(task.global_batch)
    blocks, head, embedding = stages.blocks(), stages.whole(stages.head), stages.whole(stages.embedding)
    mine, busiest_head = stages.bottleneck(blocks, head)
    own = total(blocks.times(mine), head.times(busiest_head), embedding.times((p == 1) * 1.0))
    seconds = stages.seconds(own)
    added = sums.accumulated(mine, m)
    every = total(blocks.times(task.model.layers * 1.0), head, embedding)
    waits = bubble(plans, m, _mean(stages, stages.seconds(every) / p, added), seconds + added)
    sent = transfers(task, plans, stages.network)
    waited = np.where(
        task.practice.overlap_sends & (plans.virtual_stages > 1), sums.late(sent.waited, seconds), sent.waited
    )
    pipeline = np.where(p == 1, 0.0, m * waited + sent.filling)
    compute = m * (own.compute + np.maximum(0.0, seconds - gpu(own)) + added)
    data, optimizer = sums.data(mine, m, own, blocks), sums.optimizer(mine)
    step = m * (seconds + added) + waits + pipeline + data + optimizer + task.constants.step
    slower = 1 + task.constants.jitter * np.log2(plans.ranks)
    return Times(
        step=step * slower, compute=compute, bubble=waits, optimizer=optimizer, tensor=m * own.tensor,
        context=m * own.context, expert=m * own.expert, data=data, pipeline=pipeline,
    )  # fmt: skip


def _mean(stages: Stages, seconds: Column, added: Column) -> Work:
    """Gradients are added up where those of weights are made."""
    forward, weights = stages.shares
    return Work(seconds=seconds + added, forward=forward * seconds, weights=weights * seconds + added)


class Sums:
    """What comes of a step's gradients: they are added up, summed over data, and update weights. `mine`: the blocks of
    a rank."""

    def __init__(self, stages: Stages) -> None:
        self.task, self.plans, self.stages = stages.task, stages.plans, stages
        self.network, self.kernels = stages.network, stages.kernels
        self._known: Held | None = None

    def _weights(self, mine: Column) -> tuple[Column, Column]:
        """Elements of the busiest rank's dense weights, and of its experts'."""
        held = self._held(mine)
        return held.dense, held.experts

    def _held(self, mine: Column) -> Held:
        """What the busiest rank holds, worked out once for the same blocks."""
        if self._known is None or self._known.blocks is not mine:
            self._known = held_by(self.task, self.plans, "last", mine)
        return self._known

    def data(self, mine: Column, m: Numbers, own: Part, blocks: Part) -> Column:
        """Seconds of a step in which sums over data, and weights' way to all who need them, hold a rank up."""
        fetched = (self.plans.zero == 3) & (not self.task.practice.gathers_once)
        found = self._of_a_step(mine, m, own)
        if fetched.any():
            found = np.where(fetched, m * mine * self._of_a_block(mine, blocks), found)
        return found + self._repeated(mine)

    def _of_a_step(self, mine: Column, m: Numbers, own: Part) -> Column:
        """Of gradients, once, or under ZeRO 2 with every microbatch, as no rank keeps them whole; of new weights."""
        plans, practice, p = self.plans, self.task.practice, self.plans.pipeline
        dense, experts = self._weights(mine)
        scatter = self._shared_out(float(practice.gradient_bytes), dense, experts)
        summed = scatter * np.where(plans.zero >= 1, 1, 2)
        gathered = np.where(plans.zero >= 1, self._shared_out(float(self.task.itemsize), dense, experts), 0.0)
        pieces = np.maximum(np.maximum(mine, 1), (dense + experts) * practice.gradient_bytes / practice.bucket_bytes)
        earlier, seconds = scatter, self.stages.seconds(own)
        forward, backward = self._passes(seconds)
        if practice.overlap_data:
            last_group = m - (-(-m // p) - 1) * p
            summed = self._behind(summed, travelling(plans, backward, last_group), pieces)
            earlier = self.late(scatter, seconds)
        if practice.overlap_gathers:
            gathered = self._behind(gathered, travelling(plans, forward, np.minimum(m, p)), pieces)
        return summed + gathered + np.where(plans.zero == 2, (m - 1) * earlier, 0.0)

    def _of_a_block(self, mine: Column, blocks: Part) -> Column:
        """Under ZeRO 3 of one block and microbatch: its weights, twice, and its gradients, while another is at work."""
        dense, experts = (elements / np.maximum(mine, 1) for elements in self._weights(mine))
        weights = self._shared_out(float(self.task.itemsize), dense, experts)
        gradients = self._shared_out(float(self.task.practice.gradient_bytes), dense, experts)
        forward, backward = self._passes(self.stages.seconds(blocks))
        return self.late(weights, forward) + self.late(weights + gradients, backward)

    def _passes(self, seconds: Column) -> tuple[Column, Column]:
        """Of so many seconds of work those of forward and of backward; of that, where gradients of weights are made
        apart, those of these."""
        forward, weights = self.stages.shares
        return forward * seconds, np.where(self.stages.divided, weights, 1 - forward) * seconds

    def _behind(self, transfers: Column, work: Column, pieces: Column) -> Column:
        """What holds a step up of transfers in so many pieces behind work, and what they take of it meanwhile."""
        return in_pieces(transfers, work, pieces) + self.task.constants.interference * np.minimum(transfers, work)

    def _shared_out(self, each: float, dense: Column, experts: Column) -> Column:
        """Seconds in which the ranks with the same weights share out `each` bytes of every one, or gather them."""
        alike = self.network.reduce_scatter(each * dense, *rank_group(self.plans, "data"))
        if self.task.model.experts is None:
            return alike
        return alike + self.network.reduce_scatter(each * experts, *rank_group(self.plans, "copies"))

    def _repeated(self, mine: Column) -> Column:
        """Seconds in which tensor ranks sum the gradients of what several of them have: of keys and values where heads
        are fewer than ranks, and of what is whole on each where each saw only a part of the tokens."""
        model, plans = self.task.model, self.plans
        held = self._held(mine)
        kept = self.task.practice.gradient_bytes / np.where(plans.zero >= 1, rank_group(plans, "data").ranks, 1)
        copies = kv_copies(model, plans.tensor)
        keys = self.network.all_reduce(kept * held.keys, copies, np.ones_like(copies))
        whole = self.network.all_reduce(kept * held.whole, *rank_group(plans, "tensor"))
        return keys + np.where(plans.sequence_parallel | (model.experts is not None), whole, 0.0)

    def late(self, transfers: Column, work: Column) -> Column:
        """What of the transfers is left over when so much work hides them, and what they take of it meanwhile."""
        return late(transfers, work) + self.task.constants.interference * np.minimum(transfers, work)

    def accumulated(self, mine: Column, m: Numbers) -> Column:
        """Adding each microbatch's gradients to those before it."""
        dense, experts = self._weights(mine)
        wide = self.task.practice.gradient_bytes
        touched = 0.0 if self.task.practice.fused_gradients else self.task.itemsize + 2.0 * wide
        return np.where(
            (m > 1) | (wide > self.task.itemsize),
            (dense + experts) * touched / self.kernels.device.memory_bandwidth / self.task.constants.moved,
            0.0,
        )

    def optimizer(self, mine: Column) -> Column:
        """Updating the weights that a rank updates."""
        dense, experts = self._weights(mine)
        group, copies = rank_group(self.plans, "data").ranks, rank_group(self.plans, "copies").ranks
        kept = np.where(self.plans.zero >= 1, dense / group + experts / copies, dense + experts)
        touched = 2 * self.task.state_bytes + self.task.practice.gradient_bytes + self.task.itemsize
        here = self.kernels.move(kept * touched, kernels=20)
        return np.where(self.plans.offload, update_in_host(self.task, kept), here) if self.plans.offload.any() else here

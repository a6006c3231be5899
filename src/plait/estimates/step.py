"""A step of each plan, in seconds: blocks make stages, stages a pipeline; sums and the optimizer come after it.

    a stage      blocks · (forward + again + backward), at least what launching their kernels takes
    pipeline     microbatches · the slowest rank, and the bubble: (p-1) stages of it, a v-th when interleaved
    data         gradients' sum, less what the last backward hides; under ZeRO 3 weights of every block, twice; and the
                 sum of what several tensor ranks have
    optimizer    bytes of its state / bandwidth

Layer costs are worked out once for each distinct (tensor, context, expert, microbatch, …) and gathered.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from plait.estimates.arrangements import SCHEDULES, Arrangements, Column, Numbers
from plait.estimates.block import Part, Parts, Shapes
from plait.estimates.collectives import Network
from plait.estimates.kernels import Kernels
from plait.estimates.rank_groups import rank_group
from plait.estimates.task import Task
from plait.estimates.weights import Held, held_by
from plait.estimates.widths import kv_copies

__all__ = ["Layer", "Layers", "Times", "floors", "layers_of", "times"]


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


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Seconds of a microbatch in one layer. Of these `tensor`, `context` and `expert` wait for those axes."""

    forward: float
    backward: float
    tensor: float
    context: float
    expert: float

    @property
    def seconds(self) -> float:
        """Both passes."""
        return self.forward + self.backward


@dataclass(frozen=True, kw_only=True)
class Layers:
    """One plan, layer by layer. `send`: seconds of one transfer to the next stage; `far`: of one to another host.
    `added`, `data` and `optimizer`: of a rank of each stage; the first once a microbatch (what it adds to its
    gradients), the others once a step. `fixed`: seconds of a step that no stage has; `slower`: how many times longer
    all takes for waiting for the slowest device."""

    blocks: tuple[Layer, ...]
    embedding: Layer
    head: Layer
    send: float
    far: float
    added: tuple[float, ...]
    data: tuple[float, ...]
    optimizer: tuple[float, ...]
    fixed: float
    slower: float


def floors(task: Task, plans: Arrangements) -> Column:
    """Seconds that a step can't be shorter than, whatever its schedule and its ZeRO level: what the rank with the most
    work does. `times` is never less."""
    return _Step(task, plans).floor()


def layers_of(task: Task, plan: Arrangements, ranks: Numbers) -> Layers:
    """The parts of one plan (a row), whose ranks along the pipeline have so many blocks each."""
    return _Step(task, plan.rows(np.zeros(len(ranks), dtype=np.int64))).layers(ranks)


def times(task: Task, plans: Arrangements) -> Times:
    """Seconds of a step under each plan."""
    return _Step(task, plans).times()


class _Step:
    def __init__(self, task: Task, plans: Arrangements) -> None:
        self.task, self.plans = task, plans
        self.held: Held | None = None
        self.network = Network(machines=task.machines)
        self.kernels = Kernels(
            device=task.machines.device, dtype=task.dtype, constants=task.constants, itemsize=task.itemsize
        )
        first, self.case = _distinct(
            plans.tensor, plans.context, plans.expert, plans.microbatch, plans.sequence_parallel * 1, plans.recompute
        )
        self.shapes = Shapes(
            model=task.model, sequence=task.sequence, rows=plans.rows(first), kernels=self.kernels,
            network=self.network, practice=task.practice,
        )  # fmt: skip

    def times(self) -> Times:
        task, plans = self.task, self.plans
        p, v = plans.pipeline, np.maximum(plans.virtual_stages, 1)
        m = plans.microbatches(task.global_batch)
        blocks = self._blocks()
        head, embedding = self._whole(self.shapes.head()), self._whole(self.shapes.embedding())
        mine, busiest_head = self._bottleneck(blocks, head)
        own = _sum(blocks.times(mine), head.times(busiest_head), embedding.times((p == 1) * 1.0))
        seconds = self._seconds(own)
        alone = p == 1
        total = _sum(blocks.times(task.model.layers * 1.0), head, embedding)
        lead = self._seconds(total) / p  # a mean stage
        bubble = np.where(alone, 0.0, self._bubble(lead, seconds, v))
        sends = self._sends(v)
        pipeline = np.where(alone, 0.0, m * sends + (p - 1) * sends)
        added = self._accumulated(mine, m)
        compute = m * (own.compute + np.maximum(0.0, seconds - self._gpu(own)) + added)
        data, optimizer = self._data(mine, m, own, blocks), self._optimizer(mine)
        step = m * (seconds + added) + bubble + pipeline + data + optimizer + task.constants.step
        slower = 1 + task.constants.jitter * np.log2(plans.ranks)
        return Times(
            step=step * slower, compute=compute, bubble=bubble, optimizer=optimizer, tensor=m * own.tensor,
            context=m * own.context, expert=m * own.expert, data=data, pipeline=pipeline,
        )  # fmt: skip

    def floor(self) -> Column:
        blocks, head = self._blocks(), self._whole(self.shapes.head())
        mine, busiest_head = self._bottleneck(blocks, head)
        own = _sum(blocks.times(mine), head.times(busiest_head))
        slower = 1 + self.task.constants.jitter * np.log2(self.plans.ranks)
        return self.plans.microbatches(self.task.global_batch) * self._seconds(own) * slower

    def layers(self, ranks: Numbers) -> Layers:
        constants = self.task.constants
        m, blocks = self.plans.microbatches(self.task.global_batch), self._blocks()
        mine: Column = ranks.astype(np.float64)
        last = (np.arange(len(ranks)) == len(ranks) - 1) * 1.0
        own = _sum(blocks.times(mine), self._whole(self.shapes.head()).times(last))
        each = {kind: self._layer(self.shapes.block(numbers[0])) for kind, numbers in self._kinds().items()}
        return Layers(
            blocks=tuple(each[self._kind(number)] for number in range(self.task.model.layers)),
            embedding=self._layer(self.shapes.embedding()), head=self._layer(self.shapes.head()),
            send=float(self._sends(np.ones_like(m))[0]) / 2,
            far=float(self.network.send(self._sent(), np.ones_like(m, dtype=np.bool_))[0]),
            added=tuple(map(float, self._accumulated(mine, m))),
            data=tuple(map(float, self._data(mine, m, own, blocks))),
            optimizer=tuple(map(float, self._optimizer(mine))),
            fixed=constants.step, slower=float(1 + constants.jitter * np.log2(self.plans.ranks[0])),
        )  # fmt: skip

    def _layer(self, parts: Parts) -> Layer:
        """Both passes as the whole takes them: where launching kernels is slower, forward has its part of that."""
        ahead, back = parts.forward, parts.backward + parts.again
        both = ahead + back
        seconds, gpu = float(self._seconds(both)[0]), float(self._gpu(both)[0])
        part = float(self._gpu(ahead)[0]) / gpu if gpu else 0.0
        waits = {name: float(getattr(both, name)[0]) for name in ("tensor", "context", "expert")}
        return Layer(forward=seconds * part, backward=seconds * (1 - part), **waits)

    # ---- stages -----------------------------------------------------------------------------------------------------

    def _blocks(self) -> Part:
        """The mean block, all passes."""
        return _sum(
            *[
                self._whole(self.shapes.block(numbers[0])).times(len(numbers) / self.task.model.layers)
                for numbers in self._kinds().values()
            ]
        )

    def _kind(self, number: int) -> tuple[bool, bool, bool]:
        """Blocks of one kind take equally long: whether a block has experts, attends to an encoder, stands in one."""
        model = self.task.model
        return model.experts_of(number) is not None, model.crosses(number), number < model.encoder_layers

    def _kinds(self) -> dict[tuple[bool, bool, bool], list[int]]:
        """The numbers of each kind's blocks."""
        found: dict[tuple[bool, bool, bool], list[int]] = defaultdict(list)
        for number in range(self.task.model.layers):
            found[self._kind(number)].append(number)
        return found

    def _whole(self, parts: Parts) -> Part:
        """All passes of a layer, for every plan."""
        one = parts.forward + parts.backward + parts.again
        return Part(**{name: getattr(one, name)[self.case] for name in vars(one)})

    def _bottleneck(self, blocks: Part, head: Part) -> tuple[Column, Column]:
        """Blocks of the rank with the most work, and whether it has the head."""
        layers, stages = self.task.model.layers, self.plans.pipeline * np.maximum(self.plans.virtual_stages, 1)
        v = np.maximum(self.plans.virtual_stages, 1)
        block, top = self._seconds(blocks), self._seconds(head)
        most = np.ceil(layers / stages)
        last = most - (most * stages - layers)
        if self.task.practice.balanced:
            last = np.maximum(layers - (stages - 1) * most, 1)
        one = self.plans.pipeline == 1
        with_head = (last * block + top + (v - 1) * most * block) >= most * v * block
        mine = np.where(one, layers, np.where(with_head, last + (v - 1) * most, most * v))
        return mine * 1.0, np.where(one | with_head, 1.0, 0.0)

    def _gpu(self, part: Part) -> Column:
        return part.compute + part.tensor + part.context + part.expert

    def _seconds(self, part: Part) -> Column:
        """What a part takes: what the device does, or what it takes to launch it."""
        launched = part.kernels * self.task.constants.launch
        power = self.task.constants.softness  # some kernels wait for the processor, and others for the device
        return (self._gpu(part) ** power + launched**power) ** (1 / power)

    # ---- the pipeline -----------------------------------------------------------------------------------------------

    def _bubble(self, lead: Column, seconds: Column, v: Numbers) -> Column:
        """What the slowest rank waits: 1F1B and GPipe the other stages once, interleaved a v-th of that, zero bubble
        what weights' gradients don't fill; all but the first two more where microbatches are fewer than ranks."""
        p, m = self.plans.pipeline, self.plans.microbatches(self.task.global_batch)
        missing = -(-m // p) * p - m  # of the last group of p microbatches
        stages = {  # of a stage's work on a microbatch, forward, inputs' and weights' gradients being a third each
            "1f1b": (p - 1) / v,
            "gpipe": (p - 1) / v,
            "interleaved": np.minimum((p - 1.0), (p - 1) / v + missing),
            "zb-h1": np.maximum(p - 1, 2 * p - m - 1) / 3,
            "zb-v": np.maximum(p - 1, 4 * p - 1 - 3 * m) / 6,
        }
        share = np.choose(self.plans.schedule, [stages[name] for name in SCHEDULES]) / np.maximum(p - 1, 1)
        return np.maximum(p * lead - seconds, (p - 1) * lead * 0.5) * share

    def _sends(self, v: Numbers) -> Column:
        """Transfers of a microbatch that a stage waits for: one each way, and v times as many when interleaved."""
        stride = self.plans.ranks // self.plans.pipeline
        return 2 * v * self.network.send(self._sent(), stride >= self.task.machines.domain)

    def _sent(self) -> Column:
        """Bytes that a rank sends to the next stage for a microbatch."""
        plans = self.plans
        size = (
            plans.microbatch * self.task.sequence / plans.context * self.task.model.hidden * float(self.task.itemsize)
        )
        return size / np.where(plans.sequence_parallel | (not self.task.practice.whole_sends), plans.tensor, 1)

    # ---- after the last backward ------------------------------------------------------------------------------------

    def _weights(self, mine: Column) -> tuple[Column, Column]:
        """Elements of the busiest rank's dense weights, and of its experts'."""
        held = self._held(mine)
        return held.dense, held.experts

    def _held(self, mine: Column) -> Held:
        """What the busiest rank holds, worked out once for the same blocks."""
        if self.held is None or self.held.blocks is not mine:
            self.held = held_by(self.task, self.plans, "last", mine)
        return self.held

    def _data(self, mine: Column, m: Numbers, own: Part, blocks: Part) -> Column:
        plans, practice = self.plans, self.task.practice
        dense, experts = self._weights(mine)
        scatter = self._shared_out(float(practice.gradient_bytes), dense, experts)
        gather = self._shared_out(float(self.task.itemsize), dense, experts)
        plain = np.where(plans.zero >= 1, scatter + gather, 2 * scatter)
        late = self._late(plain, 0.6 * self._seconds(own) * practice.overlap_data)
        each = dense / np.maximum(mine, 1), experts / np.maximum(mine, 1)
        gathers = 2 * self._shared_out(float(self.task.itemsize), *each)
        whole = gathers + self._shared_out(float(practice.gradient_bytes), *each)
        sharded = m * mine * self._late(whole, self._seconds(blocks))
        every_time = (plans.zero == 3) & (not practice.gathers_once)
        return np.where(every_time, sharded, late) + self._repeated(mine)

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

    def _late(self, transfers: Column, work: Column) -> Column:
        """What of the transfers is left over when so much work hides them, and what they take of it meanwhile."""
        hidden = np.minimum(transfers, work)
        return transfers - hidden + self.task.constants.interference * hidden

    def _accumulated(self, mine: Column, m: Numbers) -> Column:
        """Adding each microbatch's gradients to those before it."""
        dense, experts = self._weights(mine)
        wide = self.task.practice.gradient_bytes
        touched = 0.0 if self.task.practice.fused_gradients else self.task.itemsize + 2.0 * wide
        return np.where(
            (m > 1) | (wide > self.task.itemsize),
            (dense + experts) * touched / self.kernels.device.memory_bandwidth / self.task.constants.moved,
            0.0,
        )

    def _optimizer(self, mine: Column) -> Column:
        dense, experts = self._weights(mine)
        group, copies = rank_group(self.plans, "data").ranks, rank_group(self.plans, "copies").ranks
        kept = np.where(self.plans.zero >= 1, dense / group + experts / copies, dense + experts)
        touched = 2 * self.task.state_bytes + self.task.practice.gradient_bytes + self.task.itemsize
        return self.kernels.move(kept * touched, kernels=20)


def _distinct(*columns: Numbers) -> tuple[Numbers, Numbers]:
    """Where each distinct row stands first, and which of them each row is."""
    key = columns[0]
    for column in columns[1:]:  # one number a row: sorting whole rows takes many times as long
        key = key * (int(column.max(initial=0)) + 1) + column
    _, first, places = np.unique(key, return_index=True, return_inverse=True)
    return first, places


def _sum(*parts: Part) -> Part:
    first, *others = parts
    for one in others:
        first = first + one
    return first

"""How long stages work on a microbatch under each plan: blocks, table and head, and which rank has the most of them.

    a stage      blocks · (forward + again + backward), at least what launching their kernels takes
    busiest      the most blocks, or fewer and the head

Layer costs are worked out once for each distinct (tensor, context, expert, microbatch, …) and gathered. It knows work
and waits on the tensor, context and expert axes, no pipeline and no sum over data.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import cached_property

import numpy as np

from plait.estimates.arrangements import SCHEDULES, Arrangements, Column, Flags, Numbers
from plait.estimates.block import Part, Parts, Shapes
from plait.estimates.collectives import Network
from plait.estimates.kernels import Kernels
from plait.estimates.task import Task
from plait.schedules.registry import divides_backward

__all__ = ["Kind", "Stages", "gpu", "total"]

Kind = tuple[bool, bool, bool]  # whether a block has experts, attends to an encoder, stands in one
_DIVIDED = np.array([divides_backward(schedule) for schedule in SCHEDULES])


class Stages:
    """The layers of a task under some plans."""

    def __init__(self, task: Task, plans: Arrangements) -> None:
        self.task, self.plans = task, plans
        self.network = Network(machines=task.machines)
        self.kernels = Kernels(
            device=task.machines.device, dtype=task.dtype, constants=task.constants, itemsize=task.itemsize
        )
        first, self._case = _distinct(
            plans.tensor, plans.context, plans.expert, plans.microbatch, plans.sequence_parallel * 1, plans.recompute
        )
        self._shapes = Shapes(
            model=task.model, sequence=task.sequence, rows=plans.rows(first), kernels=self.kernels,
            network=self.network, practice=task.practice,
        )  # fmt: skip

    # ---- layers, a row for each distinct plan -----------------------------------------------------------------------

    @cached_property
    def kinds(self) -> dict[Kind, Parts]:
        """A block of each kind, which all take equally long."""
        return {kind: self._shapes.block(numbers[0]) for kind, numbers in self._numbers.items()}

    @cached_property
    def head(self) -> Parts:
        """The norm, the product with the vocabulary and the loss."""
        return self._shapes.head()

    @cached_property
    def embedding(self) -> Parts:
        """The table."""
        return self._shapes.embedding()

    def kind(self, number: int) -> Kind:
        """Of a block, by its number."""
        model = self.task.model
        return model.experts_of(number) is not None, model.crosses(number), number < model.encoder_layers

    @cached_property
    def _numbers(self) -> dict[Kind, list[int]]:
        found: dict[Kind, list[int]] = defaultdict(list)
        for number in range(self.task.model.layers):
            found[self.kind(number)].append(number)
        return found

    # ---- for every plan ---------------------------------------------------------------------------------------------

    @property
    def divided(self) -> Flags:
        """Whether the gradients of weights are made apart, where they hide no wait on the tensor axis."""
        return _DIVIDED[self.plans.schedule]

    def whole(self, parts: Parts) -> Part:
        """All passes of a layer."""
        one = parts.forward + parts.backward + parts.again
        every = Part(**{name: getattr(one, name)[self._case] for name in vars(one)})
        return replace(every, tensor=every.tensor + self.divided * every.hidden)

    def blocks(self) -> Part:
        """The mean block, all passes."""
        layers = self.task.model.layers
        return total(*[self.whole(self.kinds[kind]).times(len(each) / layers) for kind, each in self._numbers.items()])

    @cached_property
    def shares(self) -> tuple[Column, Column]:
        """Of blocks' work, the forward passes' part and that of gradients of weights that can be made apart."""
        every = [
            [one.times(len(self._numbers[kind])) for one in (parts.forward, parts.backward + parts.again)]
            for kind, parts in self.kinds.items()
        ]
        ahead, back = (total(*parts) for parts in zip(*every, strict=True))
        both = (gpu(ahead) + gpu(back))[self._case] + self.divided * back.hidden[self._case]
        return gpu(ahead)[self._case] / both, back.weights[self._case] / both

    def bottleneck(self, blocks: Part, head: Part) -> tuple[Column, Column]:
        """Blocks of the rank with the most work, and whether it has the head."""
        layers, stages = self.task.model.layers, self.plans.pipeline * np.maximum(self.plans.virtual_stages, 1)
        v = np.maximum(self.plans.virtual_stages, 1)
        block, top = self.seconds(blocks), self.seconds(head)
        most = np.ceil(layers / stages)
        last = most - (most * stages - layers)
        if self.task.practice.balanced:
            last = np.maximum(layers - (stages - 1) * most, 1)
        one = self.plans.pipeline == 1
        with_head = (last * block + top + (v - 1) * most * block) >= most * v * block
        mine = np.where(one, layers, np.where(with_head, last + (v - 1) * most, most * v))
        return mine * 1.0, np.where(one | with_head, 1.0, 0.0)

    def seconds(self, part: Part) -> Column:
        """What a part takes: what the device does, or what it takes to launch it."""
        launched = part.kernels * self.task.constants.launch
        power = self.task.constants.softness  # some kernels wait for the processor, and others for the device
        return (gpu(part) ** power + launched**power) ** (1 / power)


def gpu(part: Part) -> Column:
    """Seconds in which the device computes or waits."""
    return part.compute + part.tensor + part.context + part.expert


def total(*parts: Part) -> Part:
    """All of them."""
    first, *others = parts
    for one in others:
        first = first + one
    return first


def _distinct(*columns: Numbers) -> tuple[Numbers, Numbers]:
    """Where each distinct row stands first, and which of them each row is."""
    key = columns[0]
    for column in columns[1:]:  # one number a row: sorting whole rows takes many times as long
        key = key * (int(column.max(initial=0)) + 1) + column
    _, first, places = np.unique(key, return_index=True, return_inverse=True)
    return first, places

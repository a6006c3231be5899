"""How long one rank computes: each operation by what was measured of its kind and size.

    product        2·m·n·k / rate(m, n, k), interpolated, at least an operator's dispatch
    attention      its FLOPs / rate(rows, sequence, head_dim); unmeasured: as its products
    memory-bound   time(elements); unmeasured: dispatch, and bytes / bandwidth
    view           what small blocks take beside all else that was measured, shared among theirs; unmeasured: about an
                   operator's dispatch
    optimizer      a part for each tensor and one for each parameter; unmeasured: bytes / bandwidth

All of that is measured on a rank that works alone; `crowded` says how much slower it is among others at work. It knows
operations and measurements, no plan and no message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from math import log
from statistics import mean
from typing import NamedTuple

import numpy as np

from plait.errors import UnusableInput
from plait.layers.gpt import describe_gpt
from plait.layers.small_blocks import SMALL_BLOCKS, SMALL_TOKENS
from plait.planner.operations import Attend, Move, Multiply, Operation, Views, Way, operations_of
from plait.planner.rates import RateTable, TimeTable
from plait.plans.plan import Plan
from plait.specs.measurements import Gemm, Layout, Measurements, MemoryBoundKind, Optimizer
from plait.specs.training import ITEMSIZE, Dtype

__all__ = ["ComputeCost", "Crowding", "Work"]

# Of an operator's dispatch, for each view or call: what blocks of 2 tokens and 8 features, where little else costs,
# take beyond their measured operations (torch 2.13 on a CPU; GPT-2 and Llama shapes: 1.2 and 1.1, 0.76 and 0.74)
_VIEW: dict[Way, float] = {"forward": 1.1, "backward": 0.75}
_FUSED_PRODUCTS: dict[Way, int] = {"forward": 2, "backward": 5}
_NOISE = 0.05  # the same work, timed twice, differs by about that much

# Elements read and written for each element, where a kind was not measured: forward, backward.
_TOUCHED: dict[MemoryBoundKind, tuple[int, int]] = {
    "copy": (2, 2),
    "add": (3, 0),
    "gelu": (2, 3),
    "relu": (2, 3),
    "swiglu": (5, 8),
    "layer_norm": (2, 4),
    "rms_norm": (4, 6),
    "rope": (7, 7),
    "softmax": (3, 4),
    "dropout": (30, 3),
    "embedding": (2, 3),
    "cross_entropy": (4, 3),
    "square_sum": (1, 0),
}
_CACHED_BYTES, _STREAMED_BYTES = 2**20, 2**24  # of an operation: all of it in some cache, none
_OPTIMIZER_TOUCHED = {"adamw": 7, "sgd": 5}  # weight, gradient, moments: read, and written back


class Work(NamedTuple):
    """Seconds of one rank working alone: `multiplying` in matrix products and attention, `streaming` through what no
    cache holds, `moving` in all else."""

    multiplying: float = 0.0
    moving: float = 0.0
    streaming: float = 0.0

    def crowded(self, cost: ComputeCost, ranks: int) -> float:
        """The seconds that this takes while `ranks` ranks do the same, each on a core of its own."""
        return sum(seconds * longer for seconds, longer in zip(self, cost.crowding(ranks), strict=True))


class Crowding(NamedTuple):
    """How many times longer each kind of work takes among others."""

    multiplying: float = 1.0
    moving: float = 1.0
    streaming: float = 1.0


class ComputeCost:
    """The seconds of operations in one dtype on one machine; remembers what it was asked. Raises UnusableInput where
    no product in that dtype was measured."""

    def __init__(self, measurements: Measurements, dtype: Dtype) -> None:
        self._measured = measurements
        self._dtype: Dtype = dtype
        self._corrected = measurements.correction("computing")
        gemm = [one for one in measurements.gemm if one.dtype == dtype]
        if not gemm:
            known = ", ".join(sorted({one.dtype for one in measurements.gemm}))
            raise UnusableInput(f"products in {dtype} were not measured here, only in {known}; run `plait profile`")
        self._gemm = _by_layout(gemm)
        self._attention = {way: self._attention_rates(way) for way in _FUSED_PRODUCTS}
        self._memory: dict[tuple[MemoryBoundKind, Way], TimeTable | None] = {}
        self._optimizers: dict[str, tuple[float, float]] = {}

    def work(self, operations: Iterable[Operation]) -> Work:
        """What these operations take, one after another, as runs have corrected it."""
        return Work(*(self._corrected * seconds for seconds in self._uncorrected(operations)))

    def _uncorrected(self, operations: Iterable[Operation]) -> Work:
        multiplying = moving = streaming = 0.0
        for operation in operations:
            match operation:
                case Multiply():
                    multiplying += self.multiply_seconds(operation)
                case Attend():
                    multiplying += self.attend_seconds(operation)
                case Move():
                    seconds, share = self.move_seconds(operation), self._streamed(operation.elements)
                    moving += (1 - share) * seconds
                    streaming += share * seconds
                case Views(number, way):
                    moving += self.views_seconds(number, way)
        return Work(multiplying, moving, streaming)

    def multiply_seconds(self, operation: Multiply) -> float:
        """Seconds of a matrix product, or of `times` small ones in one operator."""
        m, n, k, layout, times = operation
        if m * n * k == 0:
            return 0.0
        return max(2 * m * n * k * times / self._gemm[layout].at(m, n, k), self._measured.dispatch.plain)

    def covers(self, operation: Multiply) -> bool:
        """Whether the product lies within the measured shapes, side by side."""
        return self._gemm[operation.layout].covers(operation.m, operation.n, operation.k)

    def covers_attention(self, operation: Attend) -> bool:
        """The same of fused attention, but for more rows than measured, which take as long each; where none was
        measured, products speak for it, and for what they cover."""
        measured = [one for one in self._measured.attention if one.dtype == self._dtype]
        sequences, features = {one.seq for one in measured}, {one.head_dim for one in measured}
        return not measured or (
            min(sequences) <= operation.sequence <= max(sequences)
            and min(features) <= operation.head_dim <= max(features)
        )

    def timed(self, operation: Attend | Move) -> bool:
        """Whether anything of its kind was; else products speak for it, or the memory's bandwidth."""
        if isinstance(operation, Attend):
            return self._attention[operation.way] is not None
        return any(one.kind == operation.kind for one in self._measured.memory_bound)

    def timed_optimizer(self, name: str) -> bool:
        """The same of an optimizer's step."""
        return any(one.name == name for one in self._measured.optimizer)

    def attend_seconds(self, operation: Attend) -> float:
        """Seconds of fused attention."""
        rows, sequence, head_dim, way = operation
        table = self._attention[way]
        if table is not None:
            return _fused_flops(operation) / table.at(rows, sequence, head_dim)
        one = Multiply(sequence, sequence, head_dim, "forward", rows)
        return _FUSED_PRODUCTS[way] * self.multiply_seconds(one)

    def move_seconds(self, operation: Move) -> float:
        """Seconds of memory-bound work."""
        kind, elements, _, way = operation
        if elements == 0:
            return 0.0
        table = self._memory_times(kind, way)
        if table is not None:
            return table.at(elements)
        touched = _TOUCHED[kind][way == "backward"] * elements * ITEMSIZE[self._dtype]
        return touched / self._measured.memory_bandwidth + self._dispatch(way)

    def views_seconds(self, number: int, way: Way) -> float:
        """Seconds of so many views, or calls of modules."""
        return number * self._view_seconds[way]

    def _streamed(self, elements: int) -> float:
        """The part of an operation on so many elements that no cache holds, by their logarithm."""
        low, high = _CACHED_BYTES, _STREAMED_BYTES
        return min(1.0, max(0.0, log(max(1, elements) * ITEMSIZE[self._dtype] / low) / log(high / low)))

    def optimizer_seconds(self, name: str, tensors: int, parameters: int, itemsize: int) -> float:
        """Seconds of one optimizer step over state of `itemsize` bytes an element."""
        measured = [one for one in self._measured.optimizer if one.name == name]
        if not measured:
            return _OPTIMIZER_TOUCHED[name] * parameters * itemsize / self._measured.memory_bandwidth
        if name not in self._optimizers:
            self._optimizers[name] = _optimizer_parts(measured)
        each_tensor, each_parameter = self._optimizers[name]
        return each_tensor * tensors + each_parameter * parameters * itemsize / ITEMSIZE["fp32"]  # measured in fp32

    def crowding(self, ranks: int) -> Crowding:
        """How many times longer work takes while `ranks` ranks are at it, each on a core."""
        contention = self._measured.contention
        if ranks <= 1 or contention.ranks <= 1:
            return Crowding()
        share = (ranks - 1) / (contention.ranks - 1)
        return Crowding(*(1 + (one - 1) * share for one in (contention.gemm, contention.cached, contention.memory)))

    @cached_property
    def error(self) -> float:
        """The relative error to expect: how well each measured product is told by the others, at least the clock's."""
        found = [error for table in self._gemm.values() if (error := table.error()) is not None]
        return max([_NOISE, *found])

    @cached_property
    def _view_seconds(self) -> dict[Way, float]:
        """Of one view, or call of a module."""
        found: dict[Way, list[float]] = {way: [] for way in _VIEW}
        for block in self._measured.blocks:
            model = SMALL_BLOCKS[block.norm]
            layer, plan = describe_gpt(model)[1], Plan(stages=(model.layers,), microbatch=1)
            operations = operations_of(layer, model, SMALL_TOKENS, plan, 0)
            for way in found:
                every = operations.of(way)
                taken = block.forward_seconds if way == "forward" else block.backward_seconds
                views = [one.number for one in every if isinstance(one, Views)]
                known = self._uncorrected([one for one in every if not isinstance(one, Views)])
                found[way].append(max(0.0, (taken - sum(known)) / sum(views)))
        return {way: mean(some) if some else _VIEW[way] * self._dispatch(way) for way, some in found.items()}

    def _dispatch(self, way: Way) -> float:
        dispatch = self._measured.dispatch
        return dispatch.forward if way == "forward" else dispatch.backward

    def _attention_rates(self, way: Way) -> RateTable | None:
        rates: dict[tuple[float, ...], float] = {}
        for one in self._measured.attention:
            if one.dtype == self._dtype:
                asked = Attend(one.batch * one.heads, one.seq, one.head_dim, way)
                seconds = one.forward_seconds if way == "forward" else one.backward_seconds
                rates[asked.rows, asked.sequence, asked.head_dim] = _fused_flops(asked) / seconds
        return RateTable(rates) if rates else None

    def _memory_times(self, kind: MemoryBoundKind, way: Way) -> TimeTable | None:
        """Seconds by elements; another dtype's, scaled by its bytes, where this one was not measured."""
        if (kind, way) not in self._memory:
            points = [one for one in self._measured.memory_bound if one.kind == kind]
            own = [one for one in points if one.dtype == self._dtype]
            times: dict[float, float] = {}
            for one in own or points:
                seconds = one.forward_seconds if way == "forward" else one.backward_seconds
                if seconds > 0:
                    times[one.elements] = seconds * ITEMSIZE[self._dtype] / ITEMSIZE[one.dtype]
            self._memory[kind, way] = TimeTable(times) if times else None
        return self._memory[kind, way]


def _by_layout(points: Iterable[Gemm]) -> dict[Layout, RateTable]:
    """A table for each layout; one that was not measured has the rates of the first that was."""
    rates: dict[Layout, dict[tuple[float, ...], float]] = {"forward": {}, "input_gradient": {}, "weight_gradient": {}}
    for one in points:
        rates[one.layout][one.m, one.n, one.k] = one.flops_per_second
    measured = {layout: RateTable(found) for layout, found in rates.items() if found}
    substitute = next(iter(measured.values()))
    return {layout: measured.get(layout, substitute) for layout in rates}


def _optimizer_parts(measured: Sequence[Optimizer]) -> tuple[float, float]:
    """Seconds for each tensor and for each parameter: the least relative squares, neither below 0."""
    sizes = np.array([(one.tensors, one.parameters) for one in measured], dtype=float)
    seconds = np.array([one.seconds for one in measured])
    each_tensor, each_parameter = np.linalg.lstsq(sizes / seconds[:, None], np.ones(len(measured)), rcond=None)[0]
    if len(measured) == 1 or each_tensor < 0 or each_parameter < 0:
        return 0.0, float(np.median(seconds / sizes[:, 1]))
    return float(each_tensor), float(each_parameter)


def _fused_flops(operation: Attend) -> float:
    return 2.0 * _FUSED_PRODUCTS[operation.way] * operation.rows * operation.sequence**2 * operation.head_dim

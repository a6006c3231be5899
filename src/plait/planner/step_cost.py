"""The parts of a step in seconds, before anyone asks what happens when; and the same step with a part taken away.

    a stage, one microbatch    forward and backward: computing, and collectives along the tensor axis
    between stages             a send, and an exchange of two
    after the last backward    sums over data that backward did not hide, then over tensor, then over pipeline
    at the end                 norm and optimizer

It is data; who prices the parts is `prices`, who plays them in order `simulator`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from operator import add
from typing import NamedTuple

__all__ = ["Chores", "Phase", "Round", "StageCost", "StepCost"]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Seconds of forward or of backward for one microbatch: `compute`, and between it collectives of the `tensor` axis,
    and of the `data` axis under ZeRO; `pipeline`: what computing loses to messages to and from neighbours on other
    hosts, whatever is computed."""

    compute: float = 0.0
    tensor: float = 0.0
    data: float = 0.0
    pipeline: float = 0.0

    @property
    def total(self) -> float:
        """All of them, one after the other."""
        return self.compute + self.tensor + self.data + self.pipeline


@dataclass(frozen=True, kw_only=True)
class Round:
    """One microbatch of the step: a smaller one takes a `part` of a whole one's time, and each rank of the pipeline
    computes `slower` times as long as the one that was measured; () where none does."""

    part: float = 1.0
    slower: tuple[float, ...] = ()

    def seconds(self, phase: Phase, place: int) -> float:
        """Of a phase of that rank in this round."""
        slower = self.slower[place] if self.slower else 1.0
        return self.part * (slower * phase.compute + phase.tensor + phase.data) + phase.pipeline


class Chores(NamedTuple):
    """Of the seconds that a stage computes for one whole microbatch, forward and backward, those in which it adds up
    gradients (`collecting`), puts weights together that are kept in pieces (`fetching`), and begins and ends an action
    of the schedule (`acting`); all others are its layers' operations."""

    collecting: float = 0.0
    fetching: float = 0.0
    acting: float = 0.0


_NO_CHORES = Chores()


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """One stage: its phases for one whole microbatch on the rank that was measured. Of its sums over data, `data`
    seconds stand after the last backward; the others make it `slowed` seconds longer, where who moves bytes takes a
    core from who computes. Of several stages of a rank the first has both: it goes backward last. `weights`: of the
    seconds that backward computes, those for gradients of weights that can be made apart. `chores`: of the seconds that
    both compute, those beside operations."""

    forward: Phase
    backward: Phase
    data: float = 0.0
    slowed: float = 0.0
    weights: float = 0.0
    chores: Chores = _NO_CHORES

    def interrupted(self, seconds: float) -> StageCost:
        """The same where forward loses so much to messages, and backward as much."""
        forward, backward = (replace(one, pipeline=seconds) for one in (self.forward, self.backward))
        return replace(self, forward=forward, backward=backward)

    @property
    def inputs(self) -> Phase:
        """What is left of backward once the gradients of weights are made apart."""
        whole = self.backward
        compute = whole.compute - self.weights
        return Phase(compute=compute, tensor=whole.tensor, data=whole.data, pipeline=whole.pipeline)

    @property
    def weights_alone(self) -> Phase:
        """Those gradients."""
        return Phase(compute=self.weights)

    @property
    def seconds(self) -> float:
        """Forward and backward of one microbatch."""
        return self.forward.total + self.backward.total


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """The parts of one step in seconds. `tensor_sums` and `pipeline_sums` follow the data axis's, then `optimizer`, and
    under ZeRO `renewal`: the norm's sum over the data axis, and the new weights to those who have not updated them.
    `rounds`: the microbatches of the replica that all wait for. `stage_rank`: which rank of the pipeline has each
    stage; left out, each its own."""

    stages: tuple[StageCost, ...]
    send: float
    exchange: float
    tensor_sums: float
    pipeline_sums: float
    optimizer: float
    rounds: tuple[Round, ...]
    renewal: float = 0.0
    stage_rank: tuple[int, ...] = ()

    @cached_property
    def places(self) -> tuple[int, ...]:
        """The rank of the pipeline that has each stage."""
        return self.stage_rank or tuple(range(len(self.stages)))

    @cached_property
    def ranks(self) -> tuple[StageCost, ...]:
        """Of each rank of the pipeline, all of its stages together."""
        found: dict[int, StageCost] = {}
        for stage, rank in zip(self.stages, self.places, strict=True):
            found[rank] = stage if rank not in found else _together(found[rank], stage)
        return tuple(found[rank] for rank in sorted(found))

    def without(self, axis: str) -> StepCost:
        """The same with communication along `axis` for nothing."""
        match axis:
            case "data":
                silent = self._with(lambda stage: replace(_scaled(stage, data=0.0), data=0.0, slowed=0.0))
                return replace(silent, renewal=0.0)
            case "tensor":
                return replace(self._with(lambda stage: _scaled(stage, tensor=0.0)), tensor_sums=0.0)
            case _:
                silent = self._with(lambda stage: _scaled(stage, pipeline=0.0))
                return replace(silent, send=0.0, exchange=0.0, pipeline_sums=0.0)

    def working(self, place: int) -> float:
        """Seconds in which a rank of the pipeline works through all microbatches of its stages."""
        stage = self.ranks[place]
        each = (
            times * (one.seconds(stage.forward, place) + one.seconds(stage.backward, place))
            for one, times in self.kinds.items()
        )
        return sum(each)

    @property
    def unevenness(self) -> float:
        """How far the work of the rank with the most lies above the mean, in parts of it."""
        work = [self.working(place) for place in range(len(self.ranks))]
        return max(work) * len(work) / sum(work) - 1

    @cached_property
    def kinds(self) -> dict[Round, int]:
        """How many rounds there are of each kind: few, of which a step repeats the same objects."""
        counts = Counter(map(id, self.rounds))
        first = {id(one): one for one in self.rounds}
        found: Counter[Round] = Counter()
        for key, times in counts.items():
            found[first[key]] += times
        return found

    def at_one_speed(self, speed: float) -> StepCost:
        """The same with every rank computing that fast."""
        slower = (1 / speed,) * len(self.ranks)
        return replace(self, rounds=tuple(replace(one, slower=slower) for one in self.rounds))

    def with_even_stages(self) -> StepCost:
        """The same with every rank of the pipeline as slow as their mean."""
        work = [self.working(place) for place in range(len(self.ranks))]
        factors = [sum(work) / len(work) / one for one in work]
        each = zip(self.stages, self.places, strict=True)
        return replace(self, stages=tuple(_scaled(stage, *(factors[place],) * 4) for stage, place in each))

    def with_compute(self, factor: float) -> StepCost:
        """The same with all computing `factor` times as long."""
        return self._with(lambda stage: _scaled(stage, compute=factor))

    def _with(self, change: Callable[[StageCost], StageCost]) -> StepCost:
        return replace(self, stages=tuple(change(stage) for stage in self.stages))


def _scaled(
    stage: StageCost, compute: float = 1.0, tensor: float = 1.0, data: float = 1.0, pipeline: float = 1.0
) -> StageCost:
    forward, backward = (
        Phase(
            compute=phase.compute * compute,
            tensor=phase.tensor * tensor,
            data=phase.data * data,
            pipeline=phase.pipeline * pipeline,
        )
        for phase in (stage.forward, stage.backward)
    )
    chores = Chores(*(seconds * compute for seconds in stage.chores))
    return replace(stage, forward=forward, backward=backward, weights=stage.weights * compute, chores=chores)


def _together(one: StageCost, other: StageCost) -> StageCost:
    return StageCost(
        forward=_sum(one.forward, other.forward),
        backward=_sum(one.backward, other.backward),
        data=one.data + other.data,
        slowed=one.slowed + other.slowed,
        weights=one.weights + other.weights,
        chores=Chores(*map(add, one.chores, other.chores)),
    )


def _sum(one: Phase, other: Phase) -> Phase:
    return Phase(
        compute=one.compute + other.compute,
        tensor=one.tensor + other.tensor,
        data=one.data + other.data,
        pipeline=one.pipeline + other.pipeline,
    )

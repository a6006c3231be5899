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

__all__ = ["Phase", "Round", "StageCost", "StepCost"]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Seconds of forward or of backward for one microbatch: `compute`, and between it collectives of the `tensor` axis,
    and of the `data` axis under ZeRO."""

    compute: float = 0.0
    tensor: float = 0.0
    data: float = 0.0

    @property
    def total(self) -> float:
        """All of them, one after the other."""
        return self.compute + self.tensor + self.data


@dataclass(frozen=True, kw_only=True)
class Round:
    """One microbatch of the step: a smaller one takes a `part` of a whole one's time, and each stage computes `slower`
    times as long as on the rank that was measured; () where none does."""

    part: float = 1.0
    slower: tuple[float, ...] = ()

    def seconds(self, phase: Phase, place: int) -> float:
        """Of a stage's phase in this round."""
        slower = self.slower[place] if self.slower else 1.0
        return self.part * (slower * phase.compute + phase.tensor + phase.data)


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """One stage: its phases for one whole microbatch on the rank that was measured. Of its sums over data, `data`
    seconds stand after the last backward; the others make it `slowed` seconds longer, where who moves bytes takes a
    core from who computes."""

    forward: Phase
    backward: Phase
    data: float = 0.0
    slowed: float = 0.0

    @property
    def seconds(self) -> float:
        """Forward and backward of one microbatch."""
        return self.forward.total + self.backward.total


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """The parts of one step in seconds. `tensor_sums` and `pipeline_sums` follow the data axis's, then `optimizer`, and
    under ZeRO `renewal`: the norm's sum over the data axis, and the new weights to those who have not updated them.
    `rounds`: the microbatches of the replica that all wait for."""

    stages: tuple[StageCost, ...]
    send: float
    exchange: float
    tensor_sums: float
    pipeline_sums: float
    optimizer: float
    rounds: tuple[Round, ...]
    renewal: float = 0.0

    def without(self, axis: str) -> StepCost:
        """The same with communication along `axis` for nothing."""
        match axis:
            case "data":
                silent = self._with(lambda stage: replace(_scaled(stage, data=0.0), data=0.0, slowed=0.0))
                return replace(silent, renewal=0.0)
            case "tensor":
                return replace(self._with(lambda stage: _scaled(stage, tensor=0.0)), tensor_sums=0.0)
            case _:
                return replace(self, send=0.0, exchange=0.0, pipeline_sums=0.0)

    def working(self, place: int) -> float:
        """Seconds in which a stage works through all microbatches."""
        stage = self.stages[place]
        each = (
            times * (one.seconds(stage.forward, place) + one.seconds(stage.backward, place))
            for one, times in self.kinds.items()
        )
        return sum(each)

    @property
    def unevenness(self) -> float:
        """How far the slowest stage's work lies above the mean, in parts of it."""
        work = [self.working(place) for place in range(len(self.stages))]
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
        slower = (1 / speed,) * len(self.stages)
        return replace(self, rounds=tuple(replace(one, slower=slower) for one in self.rounds))

    def with_even_stages(self) -> StepCost:
        """The same with every stage as slow as their mean."""
        work = [self.working(place) for place in range(len(self.stages))]
        factors = [sum(work) / len(work) / one for one in work]
        stages = (_scaled(stage, *(factor,) * 3) for stage, factor in zip(self.stages, factors, strict=True))
        return replace(self, stages=tuple(stages))

    def with_compute(self, factor: float) -> StepCost:
        """The same with all computing `factor` times as long."""
        return self._with(lambda stage: _scaled(stage, compute=factor))

    def _with(self, change: Callable[[StageCost], StageCost]) -> StepCost:
        return replace(self, stages=tuple(change(stage) for stage in self.stages))


def _scaled(stage: StageCost, compute: float = 1.0, tensor: float = 1.0, data: float = 1.0) -> StageCost:
    phases = (
        Phase(compute=phase.compute * compute, tensor=phase.tensor * tensor, data=phase.data * data)
        for phase in (stage.forward, stage.backward)
    )
    forward, backward = phases
    return replace(stage, forward=forward, backward=backward)

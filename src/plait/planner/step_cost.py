"""What the parts of a step cost under a plan, in seconds, before anyone asks what happens when.

    a stage, one microbatch    forward and backward: computing, and collectives along the tensor axis
    between stages             a send, and an exchange of two
    after the last backward    sums over data that backward did not hide, then over tensor, then over pipeline
    at the end                 norm and optimizer

A rank is as slow as the slowest of its tensor group. It knows the parts, not the order in which a schedule puts them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from plait.layers.gpt import describe_gpt
from plait.layers.layer import Layer
from plait.planner.balance import balanced_stages
from plait.planner.communication_cost import CommunicationCost
from plait.planner.communication_volume import crossing_messages, stage_message_bytes
from plait.planner.compute_cost import ComputeCost
from plait.planner.operations import Move, operations_of
from plait.planner.stage import Stage, stage_of
from plait.plans.plan import Plan
from plait.sharding.redistribute import CollectiveKind
from plait.specs.links import LinkKind
from plait.specs.measurements import Measurements
from plait.specs.model import ModelSpec
from plait.specs.training import ITEMSIZE, PRECISIONS, TrainingSpec

__all__ = ["JobPrices", "Phase", "StageCost", "StepCost"]

_NUMBER = 8  # bytes of a loss or a norm
_COLLECTIVES: dict[CollectiveKind, LinkKind] = {
    "all_reduce": "all_reduce",
    "reduce_scatter": "reduce_scatter",
    "all_gather": "all_gather",
}


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Seconds of forward or of backward for one microbatch: `compute`, and `tensor` collectives between."""

    compute: float = 0.0
    tensor: float = 0.0

    @property
    def total(self) -> float:
        """Both, one after the other."""
        return self.compute + self.tensor


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """One stage: its phases for one microbatch. Of its sums over data, `data` seconds stand after the last backward; the
    others make it `slowed` seconds longer, where who moves bytes takes a core from who computes."""

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
    """The parts of one step in seconds. `tensor_sums` and `pipeline_sums` follow the data axis's, then `optimizer`."""

    stages: tuple[StageCost, ...]
    send: float
    exchange: float
    tensor_sums: float
    pipeline_sums: float
    optimizer: float

    @property
    def mean_stage(self) -> float:
        """Seconds of a microbatch on a stage, if all were alike."""
        return sum(stage.seconds for stage in self.stages) / len(self.stages)

    def without(self, axis: str) -> StepCost:
        """The same with communication along `axis` for nothing."""
        match axis:
            case "data":
                return self._with(lambda stage: replace(stage, data=0.0, slowed=0.0))
            case "tensor":
                return replace(self._with(lambda stage: _scaled(stage, tensor=0.0)), tensor_sums=0.0)
            case _:
                return replace(self, send=0.0, exchange=0.0, pipeline_sums=0.0)

    def with_even_stages(self) -> StepCost:
        """The same with every stage as slow as their mean."""
        mean = self.mean_stage
        return self._with(lambda stage: _scaled(stage, compute=mean / stage.seconds, tensor=mean / stage.seconds))

    def with_compute(self, factor: float) -> StepCost:
        """The same with all computing `factor` times as long."""
        return self._with(lambda stage: _scaled(stage, compute=factor))

    def _with(self, change: Callable[[StageCost], StageCost]) -> StepCost:
        return replace(self, stages=tuple(change(stage) for stage in self.stages))


def _scaled(stage: StageCost, *, compute: float = 1.0, tensor: float = 1.0) -> StageCost:
    phases = (
        Phase(compute=phase.compute * compute, tensor=phase.tensor * tensor)
        for phase in (stage.forward, stage.backward)
    )
    forward, backward = phases
    return replace(stage, forward=forward, backward=backward)


@dataclass(frozen=True, kw_only=True)
class _LayerCost:
    forward: Phase
    backward: Phase


class JobPrices:
    """The prices of one job on one measured machine; remembers each layer's. Raises UnusableInput where the machine
    was not measured in the job's dtype."""

    def __init__(self, model: ModelSpec, training: TrainingSpec, measurements: Measurements) -> None:
        self.model, self.training = model, training
        policy = PRECISIONS[training.precision]
        self.compute = ComputeCost(measurements, policy.compute)
        self.communication = CommunicationCost(measurements)
        host = measurements.host
        on_cpu = host is not None and host.device == "cpu"
        self.cores = float(host.cores) if host is not None and on_cpu else None  # a device of its own shares nothing
        self.memory_bytes = host.memory_bytes if host is not None else None
        self.shares_memory = on_cpu
        self._layers = describe_gpt(model)
        self._reduced, self._master = ITEMSIZE[policy.reduce], ITEMSIZE[policy.master]
        self._copies = policy.master != policy.compute
        self._known: dict[tuple[object, ...], _LayerCost] = {}

    def balanced(self, plan: Plan) -> tuple[int, ...]:
        """The stages of this plan that make the slowest one fastest, embedding and head counted."""
        layers = [self._layer_cost(layer, plan) for layer in self._layers]
        embedding, *blocks, head = (cost.forward.total + cost.backward.total for cost in layers)
        return balanced_stages(blocks, plan.pipeline, embedding=embedding, head=head)

    def step(self, plan: Plan) -> StepCost:
        """The parts of one step under a plan."""
        # the first tensor rank has the largest share of everything, where shares are even
        ranks = [plan.mesh.rank_at(pipeline=place, data=0, tensor=0) for place in range(plan.pipeline)]
        stages = [stage_of(self.model, self.training, plan, rank) for rank in ranks]
        size = stage_message_bytes(self.model, self.training, plan, tensor_rank=0)
        return StepCost(
            stages=tuple(self._stage(plan, place, stage) for place, stage in enumerate(stages)),
            send=self._message("send", 2, size, plan.pipeline) if plan.pipeline > 1 else 0.0,
            exchange=self._message("exchange", 2, size, plan.pipeline) if plan.pipeline > 1 else 0.0,
            tensor_sums=self._later_sums(plan, stages, "tensor"),
            pipeline_sums=self._later_sums(plan, stages, "pipeline"),
            optimizer=max(self._optimizer(plan, rank) for rank in range(plan.ranks) if _first_of_data(plan, rank)),
        )

    def crowd(self, ranks: int) -> float:
        """How many times longer anything takes where `ranks` ranks share the cores."""
        return max(1.0, ranks / self.cores) if self.cores else 1.0

    def _message(self, kind: LinkKind, group: int, size: int, at_once: int) -> float:
        """A message between `group` ranks while `at_once` are at it: a link between more ranks than cores was measured
        with them sharing the cores, and is not slowed down twice."""
        alone = self.communication.seconds(kind, group, size) / self.crowd(group)
        return alone * self.crowd(max(group, at_once))

    # ---- computing -----------------------------------------------------------------------------------------------

    def _layer_cost(self, layer: Layer, plan: Plan) -> _LayerCost:
        # blocks of one model are alike: a layer's kind stands for it
        key = (layer.kind, plan.microbatch, plan.tensor_shares, plan.sequence_parallel, self._at_work(plan))
        if key not in self._known:
            self._known[key] = self._priced(layer, plan)
        return self._known[key]

    def _priced(self, layer: Layer, plan: Plan) -> _LayerCost:
        ranks = range(1 if len(set(plan.tensor_shares)) == 1 and plan.tensor == 1 else plan.tensor)
        sequence = self.training.sequence_length
        found = [operations_of(layer, self.model, sequence, plan, rank) for rank in ranks]
        at_work = self._at_work(plan)
        forward = max(self.compute.work(one.forward).crowded(self.compute, at_work) for one in found)
        backward = max(self.compute.work(one.backward).crowded(self.compute, at_work) for one in found)
        messages = crossing_messages(layer, self.model, self.training, plan)
        # alone: the simulation slows all of a stage's work down where ranks share cores
        seconds = dict.fromkeys((True, False), 0.0)
        for message in messages:
            alone = self.communication.seconds(_COLLECTIVES[message.kind], plan.tensor, message.bytes)
            seconds[message.forward] += alone / self.crowd(plan.tensor)
        return _LayerCost(
            forward=Phase(compute=forward, tensor=seconds[True]),
            backward=Phase(compute=backward, tensor=seconds[False]),
        )

    def _at_work(self, plan: Plan) -> int:
        """Ranks that compute at the same time, each on a core of its own."""
        return min(plan.ranks, int(self.cores)) if self.cores else plan.ranks

    def _stage(self, plan: Plan, place: int, stage: Stage) -> StageCost:
        costs = [self._layer_cost(layer, plan) for layer in stage.layers]
        data, slowed = self._sums_over_data(plan, place, stage, [cost.backward.total for cost in costs])
        return StageCost(
            forward=_sum([cost.forward for cost in costs]),
            backward=_sum([cost.backward for cost in costs]),
            data=data,
            slowed=slowed,
        )

    def _optimizer(self, plan: Plan, rank: int) -> float:
        stage = stage_of(self.model, self.training, plan, rank)
        elements = stage.elements
        seconds = self.compute.optimizer_seconds(self.training.optimizer, len(stage.held), elements, self._master)
        if self.training.clip_norm > 0:
            seconds += self.compute.move_seconds(Move("square_sum", elements, elements, "forward"))
        if self._copies:
            seconds += self.compute.move_seconds(Move("copy", elements, elements, "forward"))
        _, memory = self.compute.crowding(self._at_work(plan))
        return seconds * memory * self.crowd(plan.ranks)

    # ---- sums of gradients ---------------------------------------------------------------------------------------

    def _sums_over_data(self, plan: Plan, place: int, stage: Stage, backward: Sequence[float]) -> tuple[float, float]:
        """Seconds after the last backward, and seconds that it takes longer: buckets leave one after another, each when
        its last gradient is there."""
        if plan.data == 1:
            return 0.0, 0.0
        at_once = plan.data * plan.tensor
        backward = [seconds * self.crowd(at_once) for seconds in backward]
        made = _ready(stage.layers, backward)
        finished = spent = 0.0
        for bucket in (one for one in stage.sums if one.axis == "data"):
            seconds = self._message("all_reduce", plan.data, bucket.elements * self._reduced, at_once)
            finished = max(finished, *(made[piece.name] for piece in bucket.pieces)) + seconds
            spent += seconds
        after = min(spent, max(0.0, finished - sum(backward)))
        share = self.communication.exposed_share(plan.data, cores=self.cores, at_work=plan.ranks)
        report = self._message("all_reduce", plan.data, _NUMBER, at_once) if place == plan.pipeline - 1 else 0.0
        return after + report, share * (spent - after)

    def _later_sums(self, plan: Plan, stages: Sequence[Stage], axis: str) -> float:
        """Sums over `axis` after those over the data axis, on the stage that has most of them, and the norm's."""
        slowest = 0.0
        for stage in stages:
            sums = [one for one in stage.sums if one.axis == axis]
            found = [self._message("all_reduce", len(s.members), s.elements * self._reduced, plan.ranks) for s in sums]
            slowest = max(slowest, sum(found))
        size = plan.mesh.size(axis)
        clips = self.training.clip_norm > 0 and size > 1
        return slowest + (self._message("all_reduce", size, _NUMBER, plan.ranks) if clips else 0.0)


def _first_of_data(plan: Plan, rank: int) -> bool:
    return plan.mesh.coordinate(rank, "data") == 0


def _sum(phases: Sequence[Phase]) -> Phase:
    return Phase(compute=sum(one.compute for one in phases), tensor=sum(one.tensor for one in phases))


def _ready(layers: Sequence[Layer], backward: Sequence[float]) -> dict[str, float]:
    """When backward has made each weight's gradient, by name; a tied weight's when it has been at both places."""
    made: dict[str, float] = {}
    now = 0.0
    for layer, seconds in zip(reversed(layers), reversed(backward), strict=True):
        now += seconds
        made.update({weight.name: now for weight in layer.weights})
    return made

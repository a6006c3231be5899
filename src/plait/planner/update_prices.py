"""The price of what a rank does to its gradients and weights around the sums of a step.

    before     zeros into gradients
    after      norm ─► clip ─► optimizer ─► masters cast to weights

It knows what a rank keeps and the machine, nothing of layers or messages.
"""

from __future__ import annotations

from plait.planner.alike import tensor_ranks_alike
from plait.planner.machine import Machine
from plait.planner.memory import optimizer_bytes
from plait.planner.operations import Move
from plait.planner.stage import Stage, stages_of
from plait.plans.offload import HOST_RATE
from plait.plans.plan import Plan
from plait.plans.reductions import MET_EACH_ROUND
from plait.specs.model import ModelSpec
from plait.specs.training import ITEMSIZE, PRECISIONS, TrainingSpec

__all__ = ["UpdatePrices"]

# What torch and Python do around them once a step, and for each tensor: counted by reading, and held to the 0.4 ms that
# steps of 0.4 to 0.9 M parameters took longer.
_STEP_VIEWS, _TENSOR_VIEWS = 30, 1
_OFFLOADED = 3  # copies of all elements: a gradient to host memory, the new weight's cast, and back


class UpdatePrices:
    """Of one job on one machine; remembers them by what a rank keeps."""

    def __init__(self, machine: Machine, model: ModelSpec, training: TrainingSpec) -> None:
        policy = PRECISIONS[training.precision]
        self._machine, self._model, self._training = machine, model, training
        self._master = ITEMSIZE[policy.master]
        self._copies = policy.master != policy.compute
        self._known: dict[tuple[tuple[int, ...], int, str], float] = {}

    def seconds(self, plan: Plan) -> float:
        """From the zeros that gradients begin with to the new weights, on the rank that is done last."""
        longer = self._machine.compute.crowding(self._machine.at_work(plan))
        updates = plan.workers if plan.asynchronous else 1  # in as long as a step of one worker takes
        first = plan.keepers.start
        speeds = self._machine.speeds.columns(plan.mesh)
        keepers = set(speeds.of_data[first : plan.keepers.stop])
        like = tensor_ranks_alike(self._model, self._training, plan)
        tensors = range(plan.tensor) if speeds.alike is None else dict.fromkeys(like)
        most = {
            (stage, min(speeds.different[column][place][tensor] for column in keepers))
            for tensor in tensors
            for place, stage in enumerate(stages_of(self._model, self._training, plan, data=first, tensor=tensor))
        }
        each = (
            (longer.streaming * self._updated(stage, plan) + longer.moving * self._around(stage)) / speed
            for stage, speed in most
        )
        return updates * self._machine.updating * max(each) * self._machine.crowd(plan.ranks)

    def most_kept(self, plan: Plan) -> int:
        """Elements that the rank with the most of them updates."""
        widest = plan.tensor_shares.index(max(plan.tensor_shares))
        stages = stages_of(self._model, self._training, plan, data=plan.keepers.start, tensor=widest)
        return max(stage.kept_elements for stage in stages)

    def _updated(self, stage: Stage, plan: Plan) -> float:
        """Seconds of the zeros, the norm, the clip and the update of what one rank keeps."""
        zeroed = stage.kept_elements if plan.sharding_level >= MET_EACH_ROUND else stage.elements
        key = (stage.sizes, zeroed, plan.offload)
        if key not in self._known:
            clipped = self._clipped(stage) if self._training.clip_norm > 0 else 0.0
            self._known[key] = self._zeroed(zeroed) + clipped + self._update(plan, stage)
        return self._known[key]

    def _around(self, stage: Stage) -> float:
        """Seconds of what does not shrink with the tensors."""
        return self._machine.compute.views_seconds(_STEP_VIEWS + _TENSOR_VIEWS * len(stage.sizes), "forward")

    def _zeroed(self, elements: int) -> float:
        """Seconds of the zeros that gradients begin with: half a copy, which reads, too."""
        return self._machine.compute.move_seconds(Move("copy", elements, elements, "forward")) / 2

    def _clipped(self, stage: Stage) -> float:
        """Seconds of the norm, a tensor at a time, and of the scaling of all gradients, which most steps do."""
        compute, elements = self._machine.compute, stage.kept_elements
        squares = sum(compute.move_seconds(Move("square_sum", size, size, "forward")) for size in stage.sizes)
        return squares + compute.move_seconds(Move("copy", elements, elements, "forward"))

    def _update(self, plan: Plan, stage: Stage) -> float:
        """Seconds from gradients to new weights. Under offload a device's copies hide behind the host's work."""
        if plan.offloads and not self._machine.shares_memory:
            return 2 * optimizer_bytes(stage, self._training, plan) / HOST_RATE
        sizes = stage.sizes
        copies = _OFFLOADED if plan.offloads else self._copies
        compute = self._machine.compute
        copying = copies and copies * sum(compute.move_seconds(Move("copy", n, n, "forward")) for n in sizes)
        return compute.optimizer_seconds(self._training.optimizer, len(sizes), sum(sizes), self._master) + copying

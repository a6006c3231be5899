"""The price of what a rank does to its gradients and weights around the sums of a step.

    before     zeros into gradients
    after      norm ─► clip ─► optimizer ─► masters cast to weights

It knows what a rank keeps and the machine, nothing of layers or messages.
"""

from __future__ import annotations

from itertools import product

from plait.planner.alike import tensor_ranks_alike
from plait.planner.machine import Machine
from plait.planner.memory import optimizer_bytes
from plait.planner.operations import Move
from plait.planner.stage import Stage, stage_of
from plait.plans.plan import Plan
from plait.plans.reductions import MET_EACH_ROUND
from plait.specs.model import ModelSpec
from plait.specs.training import ITEMSIZE, PRECISIONS, TrainingSpec

__all__ = ["HOST_RATE", "UpdatePrices"]

HOST_RATE = 10e9  # bytes a second that a rank's update reads and writes in the memory of a device's host: assumed
_OFFLOADED = 3  # copies of all elements: a gradient to host memory, the new weight's cast, and back


class UpdatePrices:
    """Of one job on one machine; remembers each stage's."""

    def __init__(self, machine: Machine, model: ModelSpec, training: TrainingSpec) -> None:
        policy = PRECISIONS[training.precision]
        self._machine, self._model, self._training = machine, model, training
        self._master = ITEMSIZE[policy.master]
        self._copies = policy.master != policy.compute
        self._known: dict[tuple[Stage, str], float] = {}

    def seconds(self, plan: Plan) -> float:
        """From the zeros that gradients begin with to the new weights, on the rank that is done last."""
        _, memory = self._machine.compute.crowding(self._machine.at_work(plan))
        updates = plan.workers if plan.asynchronous else 1  # in as long as a step of one worker takes
        first = plan.keepers.start
        alike = self._machine.speeds.alike(plan.mesh)
        tensors = (
            set(tensor_ranks_alike(self._model, self._training, plan)) if alike is not None else range(plan.tensor)
        )

        def slowest(place: int, tensor: int) -> float:
            ranks = (plan.mesh.rank_at(pipeline=place, data=data, tensor=tensor) for data in plan.keepers)
            return alike or min(self._machine.speeds.of_rank(rank, plan.ranks) for rank in ranks)

        most = {
            (stage_of(self._model, self._training, plan, rank), slowest(place, tensor))
            for place, tensor in product(range(plan.pipeline), tensors)
            for rank in [plan.mesh.rank_at(pipeline=place, data=first, tensor=tensor)]
        }
        seconds = self._machine.updating * max(self._updated(stage, plan) / speed for stage, speed in most)
        return updates * seconds * memory * self._machine.crowd(plan.ranks)

    def _updated(self, stage: Stage, plan: Plan) -> float:
        """Seconds of the zeros, the norm, the clip and the update of what one rank keeps."""
        if (stage, plan.offload) not in self._known:
            clipped = self._clipped(stage) if self._training.clip_norm > 0 else 0.0
            self._known[stage, plan.offload] = self._zeroed(plan, stage) + clipped + self._update(plan, stage)
        return self._known[stage, plan.offload]

    def _zeroed(self, plan: Plan, stage: Stage) -> float:
        """Seconds of the zeros that gradients begin with: half a copy, which reads, too."""
        elements = stage.kept_elements if plan.sharding_level >= MET_EACH_ROUND else stage.elements
        return self._machine.compute.move_seconds(Move("copy", elements, elements, "forward")) / 2

    def _clipped(self, stage: Stage) -> float:
        """Seconds of the norm, a tensor at a time, and of the scaling of all gradients, which most steps do."""
        compute, elements = self._machine.compute, stage.kept_elements
        sizes = (one.elements for one in stage.kept)
        squares = sum(compute.move_seconds(Move("square_sum", size, size, "forward")) for size in sizes)
        return squares + compute.move_seconds(Move("copy", elements, elements, "forward"))

    def _update(self, plan: Plan, stage: Stage) -> float:
        """Seconds from gradients to new weights. Under offload a device's copies hide behind the host's work."""
        if plan.offloads and not self._machine.shares_memory:
            return 2 * optimizer_bytes(stage, self._training, plan) / HOST_RATE
        sizes = [one.elements for one in stage.kept]
        copies = _OFFLOADED if plan.offloads else self._copies
        compute = self._machine.compute
        copying = copies and copies * sum(compute.move_seconds(Move("copy", n, n, "forward")) for n in sizes)
        return compute.optimizer_seconds(self._training.optimizer, len(sizes), sum(sizes), self._master) + copying

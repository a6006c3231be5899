"""What each rank of a plan does and holds, exactly: the numbers that `verify` lays beside what the ranks really did.

FLOPs from the layers' products, bytes from what a rank holds, messages from the rules that the runtime follows too. It
predicts no second; what is uncertain stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.planner.communication_volume import traffic_of_step
from plait.planner.flops import flops_by_layer, packing_flops
from plait.planner.memory import gradient_elements, residual_bytes, state_bytes, weight_elements
from plait.planner.stage import stage_of
from plait.plans.plan import Plan
from plait.plans.prediction import Work
from plait.specs.model import ModelSpec
from plait.specs.training import ITEMSIZE, PRECISIONS, TrainingSpec

__all__ = ["work_of_ranks"]

_Hosts = Sequence[Sequence[int]]


def work_of_ranks(model: ModelSpec, training: TrainingSpec, plan: Plan, hosts: _Hosts = ()) -> tuple[Work, ...]:
    """The work of every rank of `plan`, in a precision whose masters are the weights themselves. `hosts`: the ranks on
    each of several hosts whose ranks share memory."""
    return tuple(_work(model, training, plan, rank, hosts) for rank in range(plan.ranks))


def _work(model: ModelSpec, training: TrainingSpec, plan: Plan, rank: int, hosts: _Hosts) -> Work:
    stage, policy = stage_of(model, training, plan, rank), PRECISIONS[training.precision]
    flops = flops_by_layer(model, training, plan, rank)
    return Work(
        forward_flops={name: count.forward for name, count in flops.items()},
        backward_flops=sum(count.backward for count in flops.values()) + packing_flops(model, training, plan, rank),
        weight_bytes=weight_elements(stage, plan) * ITEMSIZE[policy.compute],
        gradient_bytes=gradient_elements(stage, plan) * ITEMSIZE[policy.reduce],
        optimizer_bytes=state_bytes(stage, training),
        residual_bytes=residual_bytes(stage, training, plan),
        collectives=traffic_of_step(model, training, plan, rank, _standing(plan, rank, hosts)),
    )


def _standing(plan: Plan, rank: int, hosts: _Hosts) -> tuple[int, ...]:
    """How many of a rank's replicas stand on each host."""
    replicas = next(group for group in plan.mesh.groups("data") if rank in group)
    counts = (sum(one in replicas for one in ranks) for ranks in hosts)
    return tuple(count for count in counts if count)

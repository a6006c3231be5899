"""A plan: every key of `[plan]`, chosen. Only data; planner, verify, runtime and report are its interpreters.

A plan says how a model is split (degrees, stages, shares), when a stage works (schedule, microbatch), what is kept
(zero, offload, recompute) and how gradients are synchronised. It knows neither the model nor the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from plait.schedules.registry import divides_backward, placement
from plait.sharding.mesh_shape import MeshShape

__all__ = ["Plan"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One complete choice. `microbatch` counts sequences, `stages` layers a stage, `bucket_bytes` bytes. A `schedule`
    that was drawn is its drawing (`schedules.grid`)."""

    data: int = 1
    tensor: int = 1
    pipeline: int = 1
    context: int = 1
    expert: int = 1
    microbatch: int = 1
    schedule: str = "1f1b"
    virtual_stages: int = 1
    stages: tuple[int, ...]
    tensor_shares: tuple[float, ...] = (1,)
    data_shares: tuple[float, ...] = (1,)
    zero: int = 0
    offload: str = "none"
    sequence_parallel: bool = False
    recompute: str = "none"
    synchronisation: str = "all-reduce"
    compression: str = "none"
    local_steps: int = 1
    staleness: int = 0
    servers: int = 0
    gradient_precision: str = "fp32"
    bucket_bytes: int = 25 * 2**20

    @property
    def mesh(self) -> MeshShape:
        """The arrangement of ranks that this plan needs."""
        return _mesh(self.pipeline, self.data, self.tensor)

    @property
    def ranks(self) -> int:
        """How many ranks the plan occupies. Experts are split over ranks that are counted already."""
        return self.mesh.ranks * self.context

    @property
    def stage_rank(self) -> tuple[int, ...]:
        """The place along the pipeline axis of each stage; several stages may have one."""
        return placement(self.schedule, self.pipeline, self.virtual_stages)

    def stages_at(self, place: int) -> tuple[int, ...]:
        """The stages of a place along the pipeline axis, ascending."""
        return tuple(stage for stage, one in enumerate(self.stage_rank) if one == place)

    @property
    def last_place(self) -> int:
        """The place along the pipeline axis that has the last stage, and knows the loss."""
        return self.stage_rank[-1]

    @property
    def divides_backward(self) -> bool:
        """Whether gradients of weights are made apart from those of inputs."""
        return divides_backward(self.schedule)

    @property
    def sharding_level(self) -> int:
        """ZeRO's level; 0 where there is nobody to share with. What a parameter server keeps is as under level 1."""
        return (1 if self.served else self.zero) if self.data > 1 else 0

    @property
    def compresses(self) -> bool:
        """Whether what replicas tell each other travels in fewer bytes, as far as that makes them fewer."""
        return self.compression != "none" and self.data > 1

    @property
    def offloads(self) -> bool:
        """Whether masters and the optimizer's state live in host memory, where the update runs."""
        return self.offload == "optimizer"

    @property
    def averages(self) -> bool:
        """Whether replicas learn alone, and their weights are averaged every `local_steps` steps."""
        return self.synchronisation in ("local-sgd", "diloco") and self.data > 1

    @property
    def served(self) -> bool:
        """Whether data ranks push gradients to those that serve weights, and pull what these make of them."""
        return self.synchronisation == "parameter-server" and self.data > 1

    @property
    def asynchronous(self) -> bool:
        """Whether a server applies each portion of a step as it comes, in place of the sum of all."""
        return self.served and self.staleness != 0

    @property
    def workers(self) -> int:
        """How many data ranks have rows of a batch: the first ones; those behind them only serve."""
        return self.data - (self.servers if self.served else 0)

    @property
    def keepers(self) -> range:
        """The data ranks among which is shared out what is not whole on each: all, or those that only serve."""
        return range(self.workers if self.workers < self.data else 0, self.data)


@lru_cache(maxsize=4096)  # the planner asks a million times
def _mesh(pipeline: int, data: int, tensor: int) -> MeshShape:
    return MeshShape(pipeline=pipeline, data=data, tensor=tensor)

"""The mesh: ranks arranged along named axes, tensor innermost, so that its neighbours are the nearest ranks.

    rank = (pipeline · data_size + data) · tensor_size + tensor

        pipeline 0            pipeline 1
        data 0   0 1          data 0   4 5        each row: one tensor group
        data 1   2 3          data 1   6 7        each column of a block: one data group

It knows numbers only: no process, no group of any library.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AXES", "MeshShape"]

AXES = ("pipeline", "data", "tensor")


@dataclass(frozen=True, kw_only=True)
class MeshShape:
    """How many ranks stand along each axis."""

    pipeline: int = 1
    data: int = 1
    tensor: int = 1

    @property
    def ranks(self) -> int:
        """All ranks of the mesh."""
        return self.pipeline * self.data * self.tensor

    def size(self, axis: str) -> int:
        """The number of ranks along `axis`."""
        return {"pipeline": self.pipeline, "data": self.data, "tensor": self.tensor}[axis]

    def coordinate(self, rank: int, axis: str) -> int:
        """Where `rank` stands along `axis`."""
        places = {
            "tensor": rank % self.tensor,
            "data": rank // self.tensor % self.data,
            "pipeline": rank // (self.tensor * self.data),
        }
        return places[axis]

    def rank_at(self, *, pipeline: int, data: int, tensor: int) -> int:
        """The rank at these coordinates."""
        return (pipeline * self.data + data) * self.tensor + tensor

    def group(self, rank: int, axis: str) -> tuple[int, ...]:
        """The ranks that differ from `rank` along `axis` alone, in the order of the axis; `rank` among them."""
        stride = {"tensor": 1, "data": self.tensor, "pipeline": self.tensor * self.data}[axis]
        first = rank - self.coordinate(rank, axis) * stride
        return tuple(first + step * stride for step in range(self.size(axis)))

    def hosts_along(self, axis: str, ranks_per_host: int) -> int:
        """The most hosts on which a group along `axis` stands, ranks being numbered host by host; 0 a host: one has
        them all."""
        if not ranks_per_host:
            return 1
        return max(len({rank // ranks_per_host for rank in group}) for group in self.groups(axis))

    def groups(self, axis: str) -> tuple[tuple[int, ...], ...]:
        """Every group along `axis`, each once, by first rank."""
        return tuple(self.group(rank, axis) for rank in range(self.ranks) if self.coordinate(rank, axis) == 0)

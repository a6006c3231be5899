"""Tensors that every rank, and the test beside them, can draw alike; and the ranks' one line for a group.

Values are whole numbers, so that a sum is exact in whatever order it is taken.
"""

from __future__ import annotations

import torch

from plait.collectives.process_groups import Group, build_mesh
from plait.sharding.mesh_shape import MeshShape


def drawn(owner: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """The tensor of that shape that rank `owner` begins with."""
    return torch.randint(-9, 10, shape, generator=torch.Generator().manual_seed(owner)).to(dtype)


def tensor_group(ranks: int) -> Group:
    """All ranks of the pool, along the tensor axis."""
    return build_mesh(MeshShape(tensor=ranks)).axis("tensor")

"""Sends and receives along the pipeline axis, started together as one fused group and waited for together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist

from plait.collectives.process_groups import Group
from plait.collectives.recorder import note

__all__ = ["Transfer", "start_transfers"]


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """One tensor to or from the rank at place `peer` of the group. A received tensor is written in place."""

    direction: Literal["send", "receive"]
    tensor: torch.Tensor
    peer: int


def start_transfers(transfers: Sequence[Transfer], group: Group) -> list[dist.Work]:
    """Start all of them at once; the caller waits for each work before it reads or overwrites a tensor."""
    operations: list[dist.P2POp] = []
    for transfer in transfers:
        note(group.axis, transfer.direction, transfer.tensor.nbytes)
        operation = dist.isend if transfer.direction == "send" else dist.irecv
        operations.append(dist.P2POp(operation, transfer.tensor, group.ranks[transfer.peer], group.handle))
    return dist.batch_isend_irecv(operations)

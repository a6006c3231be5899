"""Sends and receives along the pipeline axis, started together as one fused group.

stage 1     SEND_F3 ─┐              ┌─ SEND_F4
            RECV_B0 ─┴─ Exchange    ┴─ …
                        ├ wait_for_receives   before what arrived is read
                        └ wait_for_sends      before what leaves is overwritten, or let go
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist

from plait.collectives.process_groups import Group
from plait.collectives.recorder import blocked, note

__all__ = ["Exchange", "Transfer", "start_transfers"]


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """One tensor to or from the rank at place `peer` of the group. A received tensor is written in place."""

    direction: Literal["send", "receive"]
    tensor: torch.Tensor
    peer: int


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """Transfers under way. The time that a wait takes counts as exposed communication of the axis."""

    axis: str
    receives: Sequence[dist.Work]
    sends: Sequence[dist.Work]

    def wait_for_receives(self) -> None:
        """Every received tensor is complete."""
        self._wait(self.receives)

    def wait_for_sends(self) -> None:
        """Every sent tensor has left."""
        self._wait(self.sends)

    def _wait(self, works: Sequence[dist.Work]) -> None:
        if works:
            with blocked(self.axis):
                for work in works:
                    work.wait()


def start_transfers(transfers: Sequence[Transfer], group: Group) -> Exchange:
    """Start all of them at once, in either direction, to any of the group."""
    operations: list[dist.P2POp] = []
    for transfer in transfers:
        note(group.axis, transfer.direction, transfer.tensor.nbytes)
        operation = dist.isend if transfer.direction == "send" else dist.irecv
        operations.append(dist.P2POp(operation, transfer.tensor, group.ranks[transfer.peer], group.handle))
    works = dist.batch_isend_irecv(operations)
    if len(works) < len(transfers):  # NCCL fuses them, and gives one work for all
        return Exchange(axis=group.axis, receives=works, sends=())
    by_direction: dict[str, list[dist.Work]] = {"send": [], "receive": []}
    for transfer, work in zip(transfers, works, strict=True):
        by_direction[transfer.direction].append(work)
    return Exchange(axis=group.axis, receives=by_direction["receive"], sends=by_direction["send"])

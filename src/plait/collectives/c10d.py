"""The wire of torch.distributed: gloo between CPUs of several hosts, NCCL between accelerators.

Parts of different sizes are as long as the longest on it. What rests in shared memory meanwhile, of other groups, goes
on only where somebody drives it: the program's own waits do (`driving`), and those of threads beside it must not.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor

from plait.collectives.background import wait_and_drive
from plait.collectives.packed import Packed
from plait.collectives.wire import Combination, Exchange, Started, Transfer, Work
from plait.specs.links import RECEIVES_AHEAD

__all__ = ["C10d"]

# torch 2.13 renamed the two; the older names are all that 2.11 has
_ALL_GATHER: Callable[..., Any] = getattr(dist, "all_gather_single", dist.all_gather_into_tensor)
_REDUCE_SCATTER: Callable[..., Any] = getattr(dist, "reduce_scatter_single", dist.reduce_scatter_tensor)
_OPERATIONS = {"sum": dist.ReduceOp.SUM, "max": dist.ReduceOp.MAX}


class C10d(Packed):
    """The collectives of one process group; `ranks` are its members' numbers in the world, `index` this one's place.
    Transfers of one `tag` never meet those of another (NCCL knows only tag 0)."""

    def __init__(self, handle: dist.ProcessGroup, ranks: Sequence[int], index: int, *, tag: int = 0) -> None:
        self._handle, self.ranks, self.index, self._tag = handle, ranks, index, tag
        self._drives = False

    def driving(self) -> Self:
        """The same wire for the program's own thread, whose waits drive what rests in shared memory."""
        made = copy.copy(self)
        made._drives = True
        return made

    def tagged(self, tag: int) -> C10d:
        """The same group, for other transfers, which drive nothing."""
        return C10d(self._handle, self.ranks, self.index, tag=tag)

    @property
    def name(self) -> str:
        """As `Wire`: gloo, nccl, …"""
        return str(dist.get_backend(self._handle))

    def receives_ahead(self, peer: int) -> bool:
        """As `Wire`: NCCL's transfers wait for each other."""
        return self.name in RECEIVES_AHEAD

    def all_reduce(self, flat: Tensor, operation: Combination) -> Work:
        """As `Wire`."""
        return self._waited(dist.all_reduce(flat, op=_OPERATIONS[operation], group=self._handle, async_op=True))

    def all_gather(self, flat: Tensor, counts: Sequence[int]) -> Started:
        """As `Wire`."""
        block = _padded(flat, max(counts))
        received = block.new_empty((len(counts), block.numel()))
        work = _ALL_GATHER(received, block.unsqueeze(0), group=self._handle, async_op=True)
        return Started(self._waited(work), lambda: [row[:count] for row, count in zip(received, counts, strict=True)])

    def reduce_scatter(self, parts: Sequence[Tensor]) -> Started:
        """As `Wire`."""
        longest = max(part.numel() for part in parts)
        sent = torch.stack([_padded(part, longest) for part in parts])
        received = torch.empty_like(sent[:1])
        work = _REDUCE_SCATTER(received, sent, group=self._handle, async_op=True)
        count = parts[self.index].numel()
        return Started(self._waited(work), lambda: [received[0, :count]])

    def all_to_all(self, parts: Sequence[Tensor], counts: Sequence[int]) -> Started:
        """As `Wire`."""
        received = parts[0].new_empty(sum(counts))
        sizes = [part.numel() for part in parts]
        work = dist.all_to_all_single(
            received, torch.cat(list(parts)), list(counts), sizes, group=self._handle, async_op=True
        )
        return Started(self._waited(work), lambda: received.split(list(counts)))

    def broadcast(self, flat: Tensor, root: int) -> Work:
        """As `Wire`."""
        return self._waited(dist.broadcast(flat, src=self.ranks[root], group=self._handle, async_op=True))

    def exchange(self, transfers: Sequence[Transfer]) -> Exchange:
        """As `Wire`."""
        if len(transfers) == 1:  # alone it needs no batch, whose checks take longer than a small message
            work = [self._started(transfers[0])]
            return (
                Exchange(receives=(), sends=work)
                if transfers[0].direction == "send"
                else Exchange(receives=work, sends=())
            )
        if not transfers:  # a batch of none is an error there
            return Exchange(receives=(), sends=())
        begun = dist.batch_isend_irecv([self._operation(transfer) for transfer in transfers])
        works = [self._waited(work) for work in begun]
        if len(works) < len(transfers):  # NCCL fuses them, and gives one work for all
            return Exchange(receives=works, sends=())
        found: dict[str, list[Work]] = {"send": [], "receive": []}
        for transfer, work in zip(transfers, works, strict=True):
            found[transfer.direction].append(work)
        return Exchange(receives=found["receive"], sends=found["send"])

    def _started(self, transfer: Transfer) -> Work:
        start = self._handle.send if transfer.direction == "send" else self._handle.recv
        return self._waited(start([transfer.tensor], transfer.peer, self._tag))

    def _operation(self, transfer: Transfer) -> dist.P2POp:
        operation = dist.isend if transfer.direction == "send" else dist.irecv
        return dist.P2POp(operation, transfer.tensor, self.ranks[transfer.peer], self._handle, self._tag)

    def _waited(self, work: dist.Work | None) -> Work:
        assert work is not None  # only a rank that is no member gets none
        return _Driving(work) if self._drives else work


@dataclass(frozen=True)
class _Driving:
    """The wait for a work that goes on by itself; what rests is driven meanwhile."""

    work: Work

    def wait(self) -> None:
        wait_and_drive(self.work)


def _padded(flat: Tensor, count: int) -> Tensor:
    missing = count - flat.numel()
    return flat if missing == 0 else torch.cat([flat, flat.new_zeros(missing)])

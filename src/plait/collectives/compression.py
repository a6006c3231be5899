"""Sums of gradient buckets in fewer bytes, with error feedback: the one door to every form of `[plan] compression`.

    sums = Compressed(compression_of("int8"), shapes, torch.float32, group, key)    once for a bucket
    handle = sums.start(flat)                                                       each step
    handle.wait()                                                                   flat: the same sum on all ranks

    all on one host, or each on its own    the form among all of them
    several hosts, several on some         the form among counterparts, of what each host has summed (`hosts_first`);
                                           powersgd's sums are the wire's, which does so anyway

Ranks start their buckets in one order and wait for them in one order: forms of two messages send the second while they
wait. `start` takes the gradient and the residual together, so that whoever starts a step has to finish it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Protocol

import torch
from torch import Tensor

from plait.collectives.functional import Handle, all_reduce
from plait.collectives.hierarchical import Hierarchical
from plait.collectives.hosts_first import HostsFirst
from plait.collectives.payloads import OverGroup, Payloads
from plait.collectives.powersgd import PowerSGD
from plait.collectives.process_groups import Group
from plait.collectives.rounded import Rounded
from plait.collectives.topk import TopK
from plait.plans.compression import Packing, Shape, packing
from plait.specs.compression import Compression

__all__ = ["Compressed"]

_CPU = torch.device("cpu")


class _Form(Protocol):
    kept: dict[str, Tensor]
    residual: Tensor  # of what is compressed, one tensor behind another

    def start(self, flat: Tensor) -> Callable[[], Tensor]: ...


class Compressed:
    """The sums of one bucket over a group: tensors of `shapes` behind one another in a flat tensor of `dtype` (float32
    or float64). `key` is the same on all ranks, and another for each bucket; it draws powersgd's first Q.

    `packing` says what is compressed. Raises ValueError for another dtype.
    """

    def __init__(
        self,
        compression: Compression,
        shapes: Sequence[Shape],
        dtype: torch.dtype,
        group: Group,
        key: int,
        device: torch.device = _CPU,
    ) -> None:
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"gradients of {dtype} are not compressed; float32 and float64 are")
        self._group, self._shapes = group, tuple(shapes)
        self._count = sum(prod(shape) for shape in shapes)
        self.packing = packing(compression, shapes, dtype.itemsize, group.size)
        self._form = _form(compression, shapes, self.packing, dtype, group, key, device)

    @property
    def kept(self) -> dict[str, Tensor]:
        """What lives from step to step, by name; whoever saves a run saves these, and copies them back in place."""
        return self._form.kept if self._form else {}

    @property
    def owed(self) -> dict[int, Tensor]:
        """What this rank has not sent yet of each compressed tensor, by the tensor's place."""
        if not self._form:
            return {}
        shapes = [self._shapes[place] for place in self.packing.compressed]
        pieces = self._form.residual.split([prod(shape) for shape in shapes])
        owed = [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]
        return dict(zip(self.packing.compressed, owed, strict=True))

    @property
    def right(self) -> dict[int, Tensor]:
        """The last step's Q (columns, rank) of each compressed tensor under powersgd, by the tensor's place."""
        if not isinstance(self._form, PowerSGD):
            return {}
        return dict(zip(self.packing.compressed, self._form.rights, strict=True))

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept."""
        return sum(tensor.nbytes for tensor in self.kept.values())

    def start(self, flat: Tensor) -> Handle:
        """Begin to sum the bucket's gradient over the group; `wait` gives it, in place.

        Raises ValueError for a tensor of another length.
        """
        if flat.shape != (self._count,):
            raise ValueError(f"a bucket of {self._count} elements was given a tensor of {tuple(flat.shape)}")
        if self._form:
            return Handle(self._group.axis, None, self._form.start(flat))
        return all_reduce(flat, self._group) if self._count else Handle(self._group.axis, None, lambda: flat)


def _form(
    compression: Compression,
    shapes: Sequence[Shape],
    packed: Packing,
    dtype: torch.dtype,
    group: Group,
    key: int,
    device: torch.device,
) -> _Form | None:
    """What sums the bucket; None where all of it travels whole."""
    if not packed.compressed or group.wire is None:
        return None
    if compression.kind == "powersgd":
        return PowerSGD(compression.rank, shapes, packed, dtype, group, device, key)
    residual = torch.zeros(sum(prod(shape) for shape in shapes), dtype=dtype, device=device)

    def over(ranks: Payloads, owed: Tensor) -> Rounded | TopK:
        return (TopK if compression.kind == "topk" else Rounded)(compression, ranks, owed)

    if not isinstance(group.wire, Hierarchical):
        return over(OverGroup(group), residual)
    messages = packed.between(group.wire.standing, residual.numel(), dtype.itemsize)
    return HostsFirst(group.axis, group.wire, over, residual, messages)

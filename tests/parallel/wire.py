"""A second count of what is sent, that shares nothing with the recorder: patched around torch's own process groups, and
around the shared memory that stands in for them between processes of one host.

Every collective of torch.distributed, whatever its name in Python, ends in a method of ProcessGroup. Each is wrapped,
those that Plait has no use for too, so that nothing slips by; the bytes are those of the tensors that were passed.
Parts of different sizes count as long as the longest, on either wire.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from plait.collectives.shared_memory import SharedMemory
from plait.collectives.wire import Parts, Transfer

# what the whole group works on: an all-reduce's tensor, an all-gather's output, a reduce-scatter's input
_PAYLOADS: dict[str, tuple[str, Callable[..., list[torch.Tensor]]]] = {
    "allreduce": ("all_reduce", lambda tensors, *_: tensors),
    "all_gather_single": ("all_gather", lambda output, *_: [output]),
    "_allgather_base": ("all_gather", lambda output, *_: [output]),
    "reduce_scatter_single": ("reduce_scatter", lambda _, whole, *__: [whole]),
    "_reduce_scatter_base": ("reduce_scatter", lambda _, whole, *__: [whole]),
    "send": ("send", lambda tensors, *_: tensors),
    "recv": ("receive", lambda tensors, *_: tensors),
}
_OTHERS = (
    "allgather", "allgather_coalesced", "allgather_into_tensor_coalesced", "all_gather_single_coalesced",
    "allreduce_coalesced", "alltoall", "alltoall_base", "all_to_all_single", "barrier", "broadcast", "gather",
    "monitored_barrier", "recv_anysource", "reduce", "reduce_scatter", "reduce_scatter_single_coalesced",
    "reduce_scatter_tensor_coalesced", "scatter",
)  # fmt: skip

Wire = Counter[tuple[tuple[int, ...], str, int]]  # ranks of the group, kind, bytes


@contextmanager
def count_on_the_wire() -> Iterator[Wire]:
    """What this process passes to torch.distributed inside the block."""
    wire: Wire = Counter()
    methods = vars(dist.ProcessGroup)
    plain = {name: methods[name] for name in (*_PAYLOADS, *_OTHERS) if name in methods}  # torch 2.13 renamed some
    for name in plain:
        setattr(dist.ProcessGroup, name, _counting(wire, name, getattr(dist.ProcessGroup, name)))
    shared = {name: vars(SharedMemory)[name] for name in (*_SHARED, "exchange")}
    for name, method in shared.items():
        setattr(SharedMemory, name, _counting_shared(wire, name, method))
    try:
        yield wire
    finally:
        for name, method in shared.items():
            setattr(SharedMemory, name, method)
        for name, method in plain.items():
            setattr(dist.ProcessGroup, name, method)


_SHARED: dict[str, Callable[..., int]] = {
    "all_reduce": lambda flat, _: flat.nbytes,
    "all_gather": lambda flat, counts: len(counts) * max(counts) * flat.itemsize,
    "reduce_scatter": lambda parts: len(parts) * max(part.nbytes for part in parts),
    "all_gather_of": lambda buffer, counts: len(counts) * max(counts) * buffer.own.itemsize,
    "reduce_scatter_in": lambda buffer, parts: _longest(parts) * buffer.own.itemsize,
    "all_gather_in": lambda buffer, parts: _longest(parts) * buffer.own.itemsize,
    "all_to_all": lambda parts, _: sum(part.nbytes for part in parts),
    "broadcast": lambda flat, _: flat.nbytes,
}


def _longest(parts: Parts) -> int:
    return len(parts) * max(sum(piece.numel() for piece in part) for part in parts)


def _counting_shared(wire: Wire, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def counted(memory: SharedMemory, *args: Any) -> Any:
        ranks = tuple(member.rank for member in memory._arena._members)
        if name == "exchange":
            for transfer in args[0]:
                assert isinstance(transfer, Transfer)
                wire[ranks, transfer.direction, transfer.tensor.nbytes] += 1
        else:
            wire[ranks, name.removesuffix("_in").removesuffix("_of"), _SHARED[name](*args)] += 1
        return method(memory, *args)

    return counted


def _counting(wire: Wire, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    kind, payload = _PAYLOADS.get(name, (name, lambda *_: []))

    def counted(group: dist.ProcessGroup, *args: Any, **options: Any) -> Any:
        size = sum(tensor.numel() * tensor.element_size() for tensor in payload(*args))
        wire[tuple(dist.get_process_group_ranks(group)), kind, size] += 1
        return method(group, *args, **options)

    return counted

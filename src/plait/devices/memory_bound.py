"""Work that moves memory rather than multiplies, on one device: norms, activations, losses, by kind and size.

Where a model has its own way (RMSNorm on a CPU, rotation, keyed dropout), that way is timed, not a textbook's. Each
kind is a function of inputs; its backward is that of the graph which the function records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from plait.devices.device import Device, dtype_of
from plait.devices.timing import median_seconds
from plait.models.loss import cross_entropy_sum
from plait.models.norm import RMSNorm
from plait.models.rotary import rotate, rotation
from plait.random.mask import dropout
from plait.specs.measurements import MemoryBound, MemoryBoundKind
from plait.specs.training import Dtype

__all__ = ["measure_copy", "measure_memory_bound"]

_WIDTH = 256
_HEAD_DIM = 64
_VOCAB = 4096
_PROBABILITY = 0.1
_KEY = 1  # of the dropout mask: any


@dataclass(frozen=True, kw_only=True)
class _Work:
    """A function of `inputs`, those among them that want a gradient, and the width of its rows."""

    inputs: tuple[Tensor, ...]
    run: Callable[..., Tensor]
    width: int = _WIDTH

    @property
    def learning(self) -> tuple[Tensor, ...]:
        return tuple(x for x in self.inputs if x.requires_grad)


def measure_copy(nbytes: int, *, budget: float, device: Device) -> float:
    """Bytes read and written a second by one rank that copies `nbytes`, more than its caches hold."""
    source = torch.ones(nbytes // 4, device=device.torch)
    target = torch.empty_like(source)
    seconds = median_seconds({"copy": partial(target.copy_, source)}, budget=budget, device=device)
    return 2 * source.nbytes / seconds["copy"]


def measure_memory_bound(
    sizes: tuple[int, ...], dtype: Dtype, *, budget: float, device: Device, start: float
) -> tuple[MemoryBound, ...]:
    """Time every kind over every number of elements. `start`: seconds that any backward takes to get going."""
    works: dict[tuple[MemoryBoundKind, int], _Work] = {
        (kind, size): build(size, dtype_of(dtype), device) for kind, build in _KINDS.items() for size in sizes
    }
    cases = {(*key, way): case for key, work in works.items() for way, case in _ways(work)}
    seconds = median_seconds(cases, budget=budget, device=device)
    return tuple(
        MemoryBound(
            kind=kind,
            elements=size // work.width * work.width,
            width=work.width,
            dtype=dtype,
            forward_seconds=seconds[kind, size, "forward"],
            backward_seconds=max(seconds.get((kind, size, "backward"), 0.0) - start, 0.0),
        )
        for (kind, size), work in works.items()
    )


def _ways(work: _Work) -> Iterator[tuple[str, Callable[[], object]]]:
    forward = partial(work.run, *work.inputs)
    yield "forward", forward
    if work.learning:
        result = forward()
        yield (
            "backward",
            partial(torch.autograd.grad, result, work.learning, torch.ones_like(result), retain_graph=True),
        )


def _values(elements: int, dtype: torch.dtype, device: Device, width: int = _WIDTH) -> Tensor:
    return torch.randn(elements // width, width, device=device.torch).to(dtype).requires_grad_()


def _unary(run: Callable[[Tensor], Tensor], elements: int, dtype: torch.dtype, device: Device) -> _Work:
    return _Work(inputs=(_values(elements, dtype, device),), run=run)


def _binary(run: Callable[[Tensor, Tensor], Tensor], elements: int, dtype: torch.dtype, device: Device) -> _Work:
    return _Work(inputs=(_values(elements, dtype, device), _values(elements, dtype, device)), run=run)


def _without_graph(run: Callable[[Tensor], Tensor], elements: int, dtype: torch.dtype, device: Device) -> _Work:
    return _Work(inputs=(_values(elements, dtype, device).detach(),), run=run)


def _layer_norm(elements: int, dtype: torch.dtype, device: Device) -> _Work:
    weight, bias = (torch.ones(_WIDTH, dtype=dtype, device=device.torch, requires_grad=True) for _ in range(2))
    run = partial(F.layer_norm, normalized_shape=(_WIDTH,))
    return _Work(inputs=(_values(elements, dtype, device), weight, bias), run=lambda x, w, b: run(x, weight=w, bias=b))


def _rms_norm(elements: int, dtype: torch.dtype, device: Device) -> _Work:
    norm = RMSNorm(_WIDTH, eps=1e-5).to(device.torch, dtype)
    return _Work(inputs=(_values(elements, dtype, device), norm.weight), run=lambda x, _weight: norm(x))


def _rope(elements: int, dtype: torch.dtype, device: Device) -> _Work:
    sequence = elements // _WIDTH
    x = _values(elements, dtype, device).detach().view(1, sequence, -1, _HEAD_DIM).requires_grad_()
    positions = torch.arange(sequence, device=device.torch)[None]
    turn = rotation(positions, head_dim=_HEAD_DIM, theta=10000.0, dtype=dtype)
    return _Work(inputs=(x,), run=lambda x: rotate(x, turn))


def _dropout(elements: int, dtype: torch.dtype, device: Device) -> _Work:
    x = _values(elements, dtype, device)
    positions = torch.arange(x.numel(), device=device.torch).view_as(x)
    return _Work(inputs=(x,), run=lambda x: dropout(x, _KEY, positions, _PROBABILITY))


def _embedding(elements: int, dtype: torch.dtype, device: Device) -> _Work:
    table = _values(_VOCAB * _WIDTH, dtype, device)
    numbers = torch.randint(_VOCAB, (1, elements // _WIDTH), device=device.torch)
    return _Work(inputs=(table,), run=lambda table: F.embedding(numbers, table))


def _cross_entropy(elements: int, dtype: torch.dtype, device: Device) -> _Work:
    logits = _values(elements, dtype, device, _VOCAB).detach()[None].requires_grad_()
    targets = torch.randint(_VOCAB, logits.shape[:2], device=device.torch)
    return _Work(inputs=(logits,), run=lambda logits: cross_entropy_sum(logits, targets), width=_VOCAB)


_KINDS: dict[MemoryBoundKind, Callable[[int, torch.dtype, Device], _Work]] = {
    "copy": partial(_without_graph, torch.clone),
    "add": partial(_binary, torch.add),
    "gelu": partial(_unary, partial(F.gelu, approximate="tanh")),
    "relu": partial(_unary, F.relu),
    "swiglu": partial(_binary, lambda gate, up: F.silu(gate) * up),
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "rope": _rope,
    "softmax": partial(_unary, partial(F.softmax, dim=-1)),
    "dropout": _dropout,
    "embedding": _embedding,
    "cross_entropy": _cross_entropy,
    "square_sum": partial(_without_graph, torch.linalg.vector_norm),
}

"""Work that moves memory rather than multiplies, on one device: norms, activations, losses, by kind and size.

Where a model has its own way (RMSNorm on a CPU, rotation, keyed dropout), that way is timed, not a textbook's. Each
kind is a function of inputs, which are as cold as in training (`cold`); its backward is that of the graph which the
function records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from plait.devices.cold import Pool, Results, backward_in_turn, forward_in_turn, sets_of
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
_VOCAB = 4096  # logits of a token
_ROWS = 256  # of an embedding: few, since backward writes zeros into all of them, which a model has its own number of
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
    pool = Pool(2 * max(sizes), dtype_of(dtype), device.torch)  # an operation reads two such tensors at most
    found: list[MemoryBound] = []
    for size in sizes:  # one after another: large ones would leave no cache of the machine with anything of small ones
        works: dict[MemoryBoundKind, list[_Work]] = {k: _sets(build, size, pool) for k, build in _KINDS.items()}
        results = Results()
        cases: dict[tuple[MemoryBoundKind, str], Callable[[], object]] = {
            (kind, way): case for kind, sets in works.items() for way, case in _ways(sets, results)
        }
        seconds = median_seconds(cases, budget=budget / len(sizes), device=device)
        found += [
            MemoryBound(
                kind=kind,
                elements=size // work.width * work.width,
                width=work.width,
                dtype=dtype,
                forward_seconds=seconds[kind, "forward"],
                backward_seconds=max(seconds.get((kind, "backward"), 0.0) - start, 0.0),
            )
            for kind, (work, *_) in works.items()
        ]
    return tuple(found)


def _sets(build: Callable[[int, Pool], _Work], size: int, pool: Pool) -> list[_Work]:
    """The same work on one set of inputs after another."""
    first = build(size, pool)
    nbytes = sum(x.nbytes for x in first.inputs) + size * pool.dtype.itemsize
    return [first, *(build(size, pool) for _ in range(sets_of(nbytes) - 1))]


def _ways(sets: Sequence[_Work], results: Results) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "forward", forward_in_turn([partial(work.run, *work.inputs) for work in sets], results)
    if sets[0].learning:
        yield "backward", backward_in_turn([(work.run(*work.inputs), work.learning) for work in sets])


def _unary(run: Callable[[Tensor], Tensor], elements: int, pool: Pool) -> _Work:
    return _Work(inputs=(pool.rows(elements, _WIDTH),), run=run)


def _binary(run: Callable[[Tensor, Tensor], Tensor], elements: int, pool: Pool) -> _Work:
    return _Work(inputs=(pool.rows(elements, _WIDTH), pool.rows(elements, _WIDTH)), run=run)


def _without_graph(run: Callable[[Tensor], Tensor], elements: int, pool: Pool) -> _Work:
    return _Work(inputs=(pool.rows(elements, _WIDTH).detach(),), run=run)


def _layer_norm(elements: int, pool: Pool) -> _Work:
    weight, bias = (torch.ones(_WIDTH, dtype=pool.dtype, device=pool.device, requires_grad=True) for _ in range(2))
    run = partial(F.layer_norm, normalized_shape=(_WIDTH,))
    return _Work(inputs=(pool.rows(elements, _WIDTH), weight, bias), run=lambda x, w, b: run(x, weight=w, bias=b))


def _rms_norm(elements: int, pool: Pool) -> _Work:
    norm = RMSNorm(_WIDTH, eps=1e-5).to(pool.device, pool.dtype)
    return _Work(inputs=(pool.rows(elements, _WIDTH), norm.weight), run=lambda x, _weight: norm(x))


def _rope(elements: int, pool: Pool) -> _Work:
    sequence = elements // _WIDTH
    x = pool.rows(elements, _WIDTH).detach().view(1, sequence, -1, _HEAD_DIM).requires_grad_()
    turn = _turn(sequence, pool.dtype, pool.device)
    return _Work(inputs=(x,), run=lambda x: rotate(x, turn))


@lru_cache
def _turn(sequence: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """All layers of a model share it."""
    positions = torch.arange(sequence, device=device)[None]
    return rotation(positions, head_dim=_HEAD_DIM, theta=10000.0, dtype=dtype)


def _dropout(elements: int, pool: Pool) -> _Work:
    x = pool.rows(elements, _WIDTH)
    positions = torch.arange(x.numel(), device=pool.device).view_as(x)
    return _Work(inputs=(x,), run=lambda x: dropout(x, _KEY, positions, _PROBABILITY))


def _embedding(elements: int, pool: Pool) -> _Work:
    table = pool.rows(_ROWS * _WIDTH, _WIDTH)
    numbers = torch.randint(_ROWS, (1, elements // _WIDTH), device=pool.device)
    return _Work(inputs=(table,), run=lambda table: F.embedding(numbers, table))


def _cross_entropy(elements: int, pool: Pool) -> _Work:
    logits = pool.rows(elements, _VOCAB).detach()[None].requires_grad_()
    targets = torch.randint(_VOCAB, logits.shape[:2], device=pool.device)
    return _Work(inputs=(logits,), run=lambda logits: cross_entropy_sum(logits, targets), width=_VOCAB)


_KINDS: dict[MemoryBoundKind, Callable[[int, Pool], _Work]] = {
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

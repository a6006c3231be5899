"""Matrix products and attention on one device: how many operations a second, by shape.

    layout           product              operands as they lie
    forward          (m, k) · (k, n)      x (m, k)      W (n, k), turned
    input_gradient   (m, k) · (k, n)      dy (m, k)     W (k, n)
    weight_gradient  (m, k) · (k, n)      dy (k, m), turned     x (k, n)

Operands and results are as cold as in training (`cold`). The result is allocated anew in each call, too: on a CPU a
large one costs its page faults.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from plait.devices.cold import COLD_BYTES, Results, backward_in_turn, forward_in_turn, sets_of
from plait.devices.device import Device, dtype_of
from plait.devices.timing import median_seconds
from plait.specs.measurements import Attention, Gemm, Layout
from plait.specs.training import Dtype

__all__ = ["gemm_shapes", "measure_attention", "measure_gemm"]

_LAYOUTS: tuple[Layout, ...] = ("forward", "input_gradient", "weight_gradient")
_SMALLEST_TRAINED = 64
_HEADS = 4

_Shape = tuple[int, int, int]


def gemm_shapes(dims: tuple[int, ...], most_multiplications: int) -> tuple[_Shape, ...]:
    """Every (m, n, k) with sides from `dims` that needs no more multiplications than that."""
    return tuple((m, n, k) for m, n, k in itertools.product(dims, repeat=3) if m * n * k <= most_multiplications)


def measure_gemm(shapes: tuple[_Shape, ...], dtype: Dtype, *, budget: float, device: Device) -> tuple[Gemm, ...]:
    """Time every shape, skinny ones only forward (decoding has them, training not), in about `budget` seconds."""
    # all shapes share the same numbers: a tenth of the memory
    kind, results = dtype_of(dtype), Results()
    most = max(COLD_BYTES // kind.itemsize, *(m * k + k * n for m, n, k in shapes))
    pool = torch.randn(most, device=device.torch).to(kind)
    cases: dict[tuple[int, int, int, Layout], Callable[[], object]] = {
        (*shape, layout): forward_in_turn(_products(pool, shape, layout), results)
        for shape in shapes
        for layout in _LAYOUTS
        if layout == "forward" or min(shape) >= _SMALLEST_TRAINED
    }
    with torch.no_grad():
        seconds = median_seconds(cases, budget=budget, device=device)
    return tuple(
        Gemm(m=m, n=n, k=k, dtype=dtype, layout=layout, flops_per_second=2 * m * n * k / taken)
        for (m, n, k, layout), taken in seconds.items()
    )


def _products(pool: Tensor, shape: _Shape, layout: Layout) -> list[Callable[[], Tensor]]:
    """The same product of one set of operands after another."""
    m, n, k = shape
    each = m * k + k * n
    count = min(sets_of((each + m * n) * pool.itemsize), len(pool) // each)
    return [_product(pool[place * each :], shape, layout) for place in range(count)]


def _product(pool: Tensor, shape: _Shape, layout: Layout) -> Callable[[], Tensor]:
    m, n, k = shape
    left, right = pool[: m * k], pool[m * k : m * k + k * n]
    match layout:
        case "forward":
            return partial(F.linear, left.view(m, k), right.view(n, k))
        case "input_gradient":
            return partial(torch.mm, left.view(m, k), right.view(k, n))
        case "weight_gradient":
            return partial(torch.mm, left.view(k, m).t(), right.view(k, n))


def measure_attention(
    shapes: tuple[tuple[int, int], ...], dtype: Dtype, *, budget: float, device: Device, start: float
) -> tuple[Attention, ...]:
    """Time causal attention of every (sequence, head_dim). `start`: seconds that any backward takes to get going."""
    results = Results()
    cases: dict[tuple[int, int, str], Callable[[], object]] = {}
    for seq, head_dim in shapes:
        sets = _heads(seq, head_dim, dtype_of(dtype), device)
        cases[seq, head_dim, "forward"] = forward_in_turn([partial(_attend, *qkv) for qkv in sets], results)
        cases[seq, head_dim, "backward"] = backward_in_turn([(_attend(*qkv), qkv) for qkv in sets])
    seconds = median_seconds(cases, budget=budget, device=device)
    return tuple(
        Attention(
            batch=1,
            heads=_HEADS,
            seq=seq,
            head_dim=head_dim,
            dtype=dtype,
            forward_seconds=seconds[seq, head_dim, "forward"],
            backward_seconds=max(seconds[seq, head_dim, "backward"] - start, start),
        )
        for seq, head_dim in shapes
    )


def _heads(seq: int, head_dim: int, dtype: torch.dtype, device: Device) -> list[list[Tensor]]:
    """Queries, keys and values, one set after another."""
    shape = (1, seq, _HEADS, head_dim)
    count = sets_of(4 * math.prod(shape) * dtype.itemsize)
    return [
        [torch.randn(shape, device=device.torch).to(dtype).requires_grad_() for _ in range(3)] for _ in range(count)
    ]


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(batch, sequence, heads, head_dim) each, as projections give them."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)

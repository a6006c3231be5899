"""Normal numbers by their address: any box of a global tensor, drawn alone, equals that box of the whole, bit for bit.

Weights are initialised from here, so that a rank draws its own boxes and never holds more, and so that a model does not
depend on how many ranks drew it. It knows shapes and boxes, and no layer, rank or plan.

Value p (the row-major position in the whole tensor) takes words 2p and 2p + 1 of its stream, always both (Box and
Muller, 1958):

    word 2p     ──> u in (0, 1]           r   = sqrt(-2 ln u)
    word 2p + 1 ──> v in [-1/2, 1/2)      phi = pi v              value p = r sin(phi)

A half turn is enough: sin of it is distributed as cos of a whole turn. Only +, *, / and sqrt of float64 are used,
which IEEE 754 rounds in one way. A library's log and sin differ in the last bit between a vectorised loop's body and
its tail, and between machines; the two series below do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from plait.random.words import words

__all__ = ["normal_box", "normal_values"]

_CHUNK = 1 << 15  # values at once: the temporaries stay in cache
_LN_2 = 0.6931471805599453
_SQRT_HALF_BITS = int(np.float64(math.sqrt(0.5)).view(np.int64))
_ATANH = [1 / power for power in range(21, 0, -2)]  # highest first; the rest is below 2**-54 of the sum for |s| < 0.172
_SINE = [(-1) ** (power // 2) / math.factorial(power) for power in range(23, 0, -2)]  # likewise, for |phi| <= pi/2


def normal_box(
    key: int, shape: tuple[int, ...], box: tuple[tuple[int, int], ...], *, std: float, dtype: torch.dtype
) -> torch.Tensor:
    """The values of `box` (one half-open interval a dim) of a global normal tensor of `shape`, mean 0.

    Computed in float64, then rounded to `dtype`; on the CPU, with 2 MiB of temporaries. Raises ValueError if the box
    does not lie within the shape.
    """
    if len(box) != len(shape) or any(not 0 <= a <= b <= size for (a, b), size in zip(box, shape, strict=True)):
        raise ValueError(f"box {box} does not lie within a tensor of shape {shape}")
    values = torch.empty([last - first for first, last in box], dtype=dtype)
    starts, length = _runs(shape, box)
    rows = values.view(len(starts), length)
    for row, column in _tiles(len(starts), length):
        positions = starts[row, None] + np.arange(column.start, column.stop, dtype=np.uint64)
        tile = normal_values(key, positions)
        tile *= std
        rows[row, column] = torch.from_numpy(tile)
    return values


def normal_values(key: int, positions: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Standard normal values, float64, at the global `positions` (any shape) of the stream `key`."""
    first = positions * np.uint64(2)
    uniform = ((words(key, first) >> np.uint64(11)) + np.uint64(1)).astype(np.float64)
    uniform *= 2.0**-53
    turn = (words(key, first + np.uint64(1)) >> np.uint64(11)).astype(np.float64)
    turn *= 2.0**-53
    turn -= 0.5
    radius = _log(uniform)
    radius *= -2.0
    np.sqrt(radius, out=radius)
    radius *= _sine(turn)
    return radius


def _log(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """ln x = e ln 2 + 2 atanh(s) for normal x = m 2**e > 0, with m in [sqrt 1/2, sqrt 2) and s = (m - 1) / (m + 1)."""
    bits = x.view(np.int64)
    exponent = (bits - _SQRT_HALF_BITS) >> 52
    mantissa = (bits - (exponent << 52)).view(np.float64)
    result = _odd_series(_ATANH, (mantissa - 1.0) / (mantissa + 1.0))
    result *= 2.0
    result += exponent * _LN_2
    return result


def _sine(half_turns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """sin(pi v) for |v| <= 1/2, by Taylor's series."""
    return _odd_series(_SINE, half_turns * math.pi)


def _odd_series(coefficients: list[float], x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The sum of coefficient * x**power over the odd powers, the highest first (Horner)."""
    square = x * x
    result = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        result *= square
        result += coefficient
    result *= x
    return result


def _runs(shape: tuple[int, ...], box: tuple[tuple[int, int], ...]) -> tuple[npt.NDArray[np.uint64], int]:
    """A box as runs of consecutive positions: where each run starts, and the length they share.

    (4, 6) cut at (1:3, 2:5): starts 8, 14, length 3. Cut at (1:3, 0:6): one run, as whole rows touch.
    """
    starts, length, stride, whole = np.zeros(1, dtype=np.uint64), 1, 1, True
    for size, (first, last) in zip(reversed(shape), reversed(box), strict=True):
        if whole:
            starts += np.uint64(first * stride)
            length *= last - first
            whole = last - first == size
        else:
            outer = np.arange(first, last, dtype=np.uint64) * np.uint64(stride)
            starts = (outer[:, None] + starts).ravel()
        stride *= size
    return starts, length


def _tiles(rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Cut (rows, columns) into tiles of at most _CHUNK values."""
    if not rows or not columns:
        return
    height = max(1, _CHUNK // columns)
    for row in range(0, rows, height):
        for column in range(0, columns, _CHUNK):
            yield slice(row, min(row + height, rows)), slice(column, min(column + _CHUNK, columns))

"""How long a device works on one operation: products by shape, element-wise work by bytes.

    product      2·m·n·k / (peak · sustained · whole tiles · depth)   or its bytes / bandwidth, whichever is longer
                 ▒▒▒▒▒▒▒░    108 units: tiles beyond a whole number of waves leave units idle
                 depth: k / (k + k0): a tile's beginning and end take as long as k0 features
    bytes        bytes / (bandwidth · part reached), and a gap to the next kernel

Tile and wave quantisation: NVIDIA, "Matrix Multiplication Background User's Guide". It knows sizes, no layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plait.estimates.arrangements import Column
from plait.estimates.constants import Constants
from plait.specs.hardware import DeviceSpec

__all__ = ["Kernels"]

# rows and columns of a tile, and the part of the largest tile's rate that such tiles reach (fitted to the 697 measured
# products of A100-PCIe and B200, shared alike)
_TILES = ((128, 256, 1.0), (256, 128, 1.0), (128, 128, 0.93), (64, 128, 0.8), (128, 64, 0.8), (64, 64, 0.6))
# FlashAttention's kernels, by their generation: the second is twice as fast as the first (Dao 2023); on devices with
# instructions that it doesn't know the third is 1.5 to 2 times as fast as the second (Shah et al. 2024)
_FIRST, _NEWEST, _BEFORE_IT = 1, 3, 1 / 1.75
_NEW_INSTRUCTIONS = ("hopper", "blackwell")
_GAP = 2e-6  # seconds between one kernel and the next on a GPU (NVIDIA, CUDA graphs: 1 to 3 µs)
_ALIGNED = 8  # elements of 2 bytes
_WIDE = ("fp64", "fp32", "tf32", "fp16", "bf16")


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """The operations of one device in one dtype. `dtype`: of products; bytes are of `itemsize` each."""

    device: DeviceSpec
    dtype: str
    constants: Constants
    itemsize: int = 2

    @property
    def rate(self) -> float:
        """FLOP/s that the largest products sustain."""
        return self._sustained(self.dtype)

    @property
    def wide_rate(self) -> float:
        """The same of what is never narrower than 16 bits: attention."""
        return self._sustained(self.dtype if self.dtype in _WIDE else "bf16")

    def attention_rate(self, generation: int) -> float:
        """The same of attention's kernels."""
        behind = generation < _NEWEST and self.device.architecture in _NEW_INSTRUCTIONS
        return self.wide_rate * (_BEFORE_IT if behind else 1.0) * (0.5 if generation == _FIRST else 1.0)

    @property
    def unaligned_rate(self) -> float:
        """The same of products whose rows don't begin at 16 bytes, which tensor cores can't read."""
        return min(self.rate, self.device.peak("fp32") or self.rate)

    def _sustained(self, dtype: str) -> float:
        peak = self.device.peak(dtype)
        assert peak is not None, f"{self.device.name} multiplies no {dtype}"
        reached = peak * self.constants.sustained
        power = self.device.power_watts
        energy = self._energy(dtype)
        return reached if power is None or energy is None else min(reached, power / energy)

    def _energy(self, dtype: str) -> float | None:
        """Joules of the board for each operation of a large product; None where nobody measured that."""
        constants = self.constants
        wide = {"hopper": constants.energy_hopper, "blackwell": constants.energy_blackwell}
        narrow = {"fp8": constants.narrow, "mxfp8": constants.narrow, "nvfp4": constants.narrowest}
        each = wide.get(self.device.architecture)
        return None if each is None else each * narrow.get(dtype, 1.0)

    def multiply(self, m: Column, n: Column, k: Column, times: Column | float = 1.0) -> Column:
        """Seconds of `times` products of (m, k) by (k, n) in one launch."""
        used = np.zeros(np.broadcast(m, n, k, times).shape)
        for rows, columns, part in _TILES:
            tiles = np.ceil(m / rows) * np.ceil(n / columns) * times
            waves = np.ceil(tiles / self.device.units)
            used = np.maximum(used, part * m * n * times / (waves * self.device.units * rows * columns))
        deep = k / (k + self.constants.depth)
        fed = np.where((n % _ALIGNED == 0) & (k % _ALIGNED == 0), self.rate, self.unaligned_rate)
        computing = 2 * m * n * k * times / (fed * used * deep)
        return np.maximum(computing, self.move(self.itemsize * times * (m * k + k * n + m * n), kernels=0))

    def move(self, size: Column | float, kernels: float = 1) -> Column:
        """Seconds in which element-wise kernels read and write so many bytes."""
        moved = size / (self.device.memory_bandwidth * self.constants.moved)
        return np.asarray(moved + kernels * _GAP)

"""What is to be done, and on which machines: all that plans are priced for."""

from __future__ import annotations

from dataclasses import dataclass, field

from plait.estimates.constants import FITTED, Constants
from plait.estimates.practice import Practice
from plait.specs.machines import Machines
from plait.specs.model import ModelSpec

__all__ = ["Task"]

_WIDE = {"fp64": 8, "fp32": 4, "tf32": 4}


@dataclass(frozen=True, kw_only=True)
class Task:
    """A step of `global_batch` sequences of `sequence` tokens. `dtype`: of products; "fp8" and the like are of products
    alone, all else is then in 16 bits. `moments`: numbers that the optimizer keeps of each weight."""

    model: ModelSpec
    global_batch: int
    sequence: int
    machines: Machines
    dtype: str = "bf16"
    moments: int = 2
    practice: Practice = field(default_factory=Practice)
    constants: Constants = FITTED

    @property
    def itemsize(self) -> int:
        """Bytes of a weight or an activation as it is computed with."""
        return _WIDE.get(self.dtype, 2)

    @property
    def state_bytes(self) -> float:
        """Of the optimizer for each weight: its moments, and where products are narrower than float32 a master copy."""
        each = max(4, self.itemsize)
        return float(each * (self.moments + (self.itemsize < 4)))

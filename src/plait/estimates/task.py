"""What is to be done, and on which machines: all that plans are priced for."""

from __future__ import annotations

from dataclasses import dataclass

from plait.estimates.constants import FITTED, Constants
from plait.estimates.practice import Practice
from plait.specs.machines import Machines
from plait.specs.model import ModelSpec

__all__ = ["Task"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A step of `global_batch` sequences of `sequence` tokens. `dtype`: of products; "fp8" and the like are of products
    alone, all else is then in 16 bits."""

    model: ModelSpec
    global_batch: int
    sequence: int
    machines: Machines
    dtype: str = "bf16"
    practice: Practice = Practice()
    constants: Constants = FITTED

    @property
    def itemsize(self) -> int:
        """Bytes of a weight and of an activation's number."""
        return 4 if self.dtype in ("fp32", "tf32") else 2

"""Planted faults: published silent bugs, re-created small, so that tests can see `verify` find them.

    with plant("norm-gradient-partial", layer="block 1", axis="tensor", step=2):
        verify_job(job, plan)                  # BUG, in a norm of block 1, along the tensor axis

For tests alone: nothing of Plait's own imports this room, and `verification` may not (an import contract holds that).
"""

from __future__ import annotations

from plait.defects.defect import DEFECTS, Defect
from plait.defects.plant import plant

__all__ = ["DEFECTS", "Defect", "plant"]

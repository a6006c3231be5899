"""Plans side by side: one column for each key that changes a price, one row for each plan.

    data tensor pipeline context expert microbatch …
     64      1        1       1      1          8          a plan
     32      2        1       1      1          8          the next

It knows keys and their sizes; which of them are legal is the search's matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.plans.plan import Plan

__all__ = ["RECOMPUTE", "SCHEDULES", "Arrangements", "Column", "Flags", "Numbers"]

Column = NDArray[np.float64]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

SCHEDULES = ("1f1b", "gpipe", "interleaved", "zb-h1", "zb-v")
RECOMPUTE = ("none", "selective", "full")


@dataclass(frozen=True, kw_only=True)
class Arrangements:
    """One row a plan; all columns are equally long. `schedule` and `recompute` are places in SCHEDULES, RECOMPUTE."""

    data: Numbers
    tensor: Numbers
    pipeline: Numbers
    context: Numbers
    expert: Numbers
    microbatch: Numbers
    schedule: Numbers
    virtual_stages: Numbers
    zero: Numbers
    recompute: Numbers
    sequence_parallel: Flags
    offload: Flags

    def __len__(self) -> int:
        return len(self.data)

    @property
    def ranks(self) -> Numbers:
        """Devices of each plan; experts stand on those of data, context and tensor (`rank_groups`)."""
        return self.data * self.tensor * self.pipeline * self.context

    def rows(self, chosen: NDArray[Any]) -> Arrangements:
        """The rows at these places, or where these flags are set."""
        return Arrangements(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    def microbatches(self, global_batch: int) -> Numbers:
        """Microbatches of the largest data rank's share of a batch."""
        rows = -(-global_batch // self.data)
        return -(-rows // self.microbatch)

    @classmethod
    def of_plans(cls, plans: Sequence[Plan]) -> Arrangements:
        """A row for each plan. Raises ValueError for a schedule or a way to recompute that has no price here."""

        def numbers(values: Sequence[int]) -> Numbers:
            return np.array(values, dtype=np.int64)

        return cls(
            data=numbers([plan.data for plan in plans]),
            tensor=numbers([plan.tensor for plan in plans]),
            pipeline=numbers([plan.pipeline for plan in plans]),
            context=numbers([plan.context for plan in plans]),
            expert=numbers([plan.expert for plan in plans]),
            microbatch=numbers([plan.microbatch for plan in plans]),
            schedule=numbers([SCHEDULES.index(plan.schedule) for plan in plans]),
            virtual_stages=numbers([plan.virtual_stages for plan in plans]),
            zero=numbers([plan.sharding_level for plan in plans]),
            recompute=numbers([RECOMPUTE.index(plan.recompute) for plan in plans]),
            sequence_parallel=np.array([plan.sequence_parallel for plan in plans], dtype=np.bool_),
            offload=np.array([plan.offloads for plan in plans], dtype=np.bool_),
        )

"""How fast this machine is beside its own profile: processors that others have a share of, or that grow warm, drift.

    the profile's small blocks      timed then     1.00
    the same ones                   timed now      1.24: what was measured since took longer than it would have

A prediction is of the profile's minute. It knows what was measured, no prediction.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.devices.device import Device
from plait.devices.host import processor_name
from plait.devices.overheads import measure_blocks, measure_dispatch
from plait.devices.threads import one_thread
from plait.specs.measurements import Measurements, SmallBlock

__all__ = ["times_as_long"]

_DISPATCH_SECONDS = 0.05


def times_as_long(known: Measurements, *, budget: float = 0.5) -> float | None:
    """How many times as long as in that profile its small blocks take now, on one core; `budget`: the seconds to
    spend on that. None where other processors than this machine's were profiled, or no blocks."""
    host = known.host
    if host is None or host.device != "cpu" or host.processor != processor_name() or not known.blocks:
        return None
    device = Device()
    with one_thread():
        _, start = measure_dispatch(budget=_DISPATCH_SECONDS, device=device)
        now = measure_blocks(budget=budget, device=device, start=start)
    return _seconds(now) / _seconds(known.blocks)


def _seconds(blocks: Sequence[SmallBlock]) -> float:
    return sum(one.forward_seconds + one.backward_seconds for one in blocks)

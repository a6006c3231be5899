"""Every number that was fitted to runs, in one place; no other module holds one, and none is of one source's runs alone.

Numbers that a data sheet or a measurement of a kernel or a link gives stand with the device or link (`specs.devices`,
`specs.connections`), not here. `python benchmarks/cost_constants.py RUNS.csv` says what each does to the errors.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FITTED", "Constants"]


@dataclass(frozen=True, kw_only=True)
class Constants:
    """The fitted numbers.

    sustained       part of a device's peak that its largest 16-bit products keep up over a step, by generation
    depth           features k of a product at which half of its time is its beginning and end
    moved           part of the memory bandwidth that element-wise kernels reach
    launch          seconds of a processor for each kernel that a program launches, in eager PyTorch
    gap             seconds of a device between one kernel and the next
    interference    part of a hidden transfer's time that lengthens the compute it hides behind
    jitter          part of a step that waiting for the slowest of all devices adds, for each doubling of their number
    step            seconds once a step: reading the batch, the norm, the loss, the scheduler's work
    """

    sustained: float = 0.80
    energy_hopper: float = 1.03e-12
    energy_blackwell: float = 0.90e-12
    narrow: float = 0.5
    narrowest: float = 0.37
    depth: float = 150.0
    moved: float = 0.80
    launch: float = 22e-6
    gap: float = 2e-6
    interference: float = 0.15
    jitter: float = 0.003
    step: float = 5e-3
    loose: float = 2.0
    routed: float = 100.0
    called: float = 9.0


FITTED = Constants()

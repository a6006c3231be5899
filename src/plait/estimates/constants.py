"""The numbers that were fitted to the seconds of whole steps; none is of one source's runs alone.

Numbers that a data sheet or a measurement of a kernel or a link gives stand with the device or link (`specs.devices`,
`specs.connections`), those set by hand where they are used: docs/cost_model.md lists them.
`python benchmarks/cost_constants.py RUNS.csv` says what each does to the errors.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FITTED", "Constants"]


@dataclass(frozen=True, kw_only=True)
class Constants:
    """The fitted numbers.

    sustained       part of a device's peak that its largest products keep up over a step, where power allows it
    energy_hopper, energy_blackwell    joules of the board for each 16-bit operation of a large product
    narrow, narrowest    what of that an operation of 8 bits, and of 4, takes
    depth           features k of a product at which half of its time is its beginning and end
    moved           part of the memory bandwidth that element-wise kernels reach
    launch          seconds of a processor for each kernel that a program launches, in eager PyTorch
    softness        how sharply the slower of device and processor decides: 1 adds both, a large one takes the maximum
    interference    part of a hidden transfer's time that lengthens the compute it hides behind
    jitter          part of a step that waiting for the slowest of all devices adds, for each doubling of their number
    loose           how many times as many bytes element-wise work moves where nobody fused it
    routed          kernels of a pass through experts, beside the products: permuting rows, counting them, waiting
    called          kernels' worth of launching a collective
    step            seconds once a step: reading the batch, the norm, the loss, the scheduler's work
    """

    sustained: float = 0.80
    energy_hopper: float = 1.03e-12
    energy_blackwell: float = 0.99e-12
    narrow: float = 0.425
    narrowest: float = 0.27
    depth: float = 177.0
    moved: float = 0.76
    launch: float = 21e-6
    softness: float = 2.7
    interference: float = 0.14
    jitter: float = 0.0035
    step: float = 5.5e-3
    loose: float = 1.7
    routed: float = 118.0
    called: float = 8.5


FITTED = Constants()

"""One operation: the measured products, waves, alignment, power."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from plait.estimates.constants import FITTED
from plait.estimates.kernels import Kernels
from plait.specs.catalogue import device_named


def kernels(name: str = "a100-80gb", dtype: str = "bf16") -> Kernels:
    device = device_named(name)
    assert device is not None
    return Kernels(device=device, dtype=dtype, constants=FITTED)


def seconds(m: float, n: float, k: float, of: Kernels | None = None) -> float:
    return float((of or kernels()).multiply(np.array([m]), np.array([n]), np.array([k]))[0])


# of an A100 PCIe, whose peak is the same: rows, columns, depth, efficiency (SimuMax's system file, 2026-05)
@pytest.mark.parametrize(
    ("m", "n", "k", "efficiency"),
    [
        (4096, 24576, 5120, 0.75037),
        (4096, 5120, 24576, 0.78435),
        (4096, 5120, 16384, 0.76124),
        (4096, 576, 5120, 0.4968),
    ],
)
def test_measured_products_are_told_within_a_seventh(m: int, n: int, k: int, efficiency: float) -> None:
    found = 2 * m * n * k / 312e12 / seconds(m, n, k, kernels("a100-80gb-pcie"))
    assert found == pytest.approx(efficiency, rel=0.15)


def test_a_tile_more_than_whole_waves_costs_a_wave() -> None:
    full = 108 * 128  # rows whose tiles fill all units once, with one column of tiles
    assert seconds(full + 1, 256, 4096) > 1.5 * seconds(full, 256, 4096)


def test_rows_that_begin_between_16_bytes_are_not_for_tensor_cores() -> None:
    assert seconds(2048, 108, 2048) > 5 * seconds(2048, 112, 2048)


def test_a_board_multiplies_no_faster_than_its_power_allows() -> None:
    device = device_named("h100-80gb")
    assert device is not None
    strong = Kernels(device=device, dtype="bf16", constants=FITTED)
    weak = replace(strong, device=replace(device, power_watts=350.0))
    assert weak.rate == pytest.approx(strong.rate / 2)
    assert replace(strong, device=replace(device, power_watts=10_000.0)).rate == pytest.approx(
        0.8 * device.peaks["bf16"]
    )


def test_narrower_operations_take_less_energy() -> None:
    device = device_named("gb300")
    assert device is not None
    rates = [Kernels(device=device, dtype=dtype, constants=FITTED).rate for dtype in ("bf16", "mxfp8", "nvfp4")]
    assert rates == sorted(rates)
    assert rates[0] < rates[-1]

"""Memory-bound work: every kind that measurements can name is measured, with a backward exactly where it has one."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from plait.devices.cold import Pool
from plait.devices.device import Device
from plait.devices.memory_bound import _KINDS, measure_copy, measure_memory_bound
from plait.specs.measurements import MemoryBoundKind

SIZE = 2**13
WITHOUT_BACKWARD = {"copy", "square_sum"}


def test_the_bandwidth_of_a_copy_is_a_machines():
    assert 1e7 < measure_copy(2**20, budget=0.01, device=Device()) < 1e14


def test_every_kind_is_measured_over_every_size():
    found = measure_memory_bound((SIZE, 2 * SIZE), "fp32", budget=0.02, device=Device(), start=0.0)
    assert {one.kind for one in found} == set(get_args(MemoryBoundKind))
    assert len(found) == 2 * len(_KINDS)
    for one in found:
        assert one.elements in (SIZE, 2 * SIZE)
        assert one.elements % one.width == 0
        assert one.forward_seconds > 0
        assert (one.backward_seconds == 0) == (one.kind in WITHOUT_BACKWARD)


@pytest.mark.parametrize("kind", get_args(MemoryBoundKind))
def test_each_kind_works_on_as_many_elements_as_it_says(kind: MemoryBoundKind):
    work = _KINDS[kind](SIZE, Pool(2 * SIZE, torch.float32, Device().torch))
    result = work.run(*work.inputs)
    counted = result if kind == "embedding" else work.inputs[0]
    assert counted.numel() == SIZE
    assert result.requires_grad == (kind not in WITHOUT_BACKWARD)
    assert torch.isfinite(result).all()


def test_the_start_of_a_backward_is_not_the_works():
    start = 10.0
    found = measure_memory_bound((SIZE,), "fp32", budget=0.0, device=Device(), start=start)
    assert {one.backward_seconds for one in found} == {0.0}

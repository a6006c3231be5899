"""Contention between real ranks: never far below 1, and the copies of all are counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from plait.devices.contention import measure_contention
from tests.devices.grids import TINY


@pytest.mark.parametrize("workers", [1, 2])
def test_ranks_at_work_at_once(run_on_ranks: Callable[..., list[Any]], workers: int):
    first, second = run_on_ranks(2, measure_contention, TINY, workers)
    assert first == second
    assert first.contention.ranks == workers
    assert first.contention.gemm > 0.2  # others may disturb the rank that works alone, but not fivefold
    assert first.contention.memory > 0.2
    assert 1e7 < first.memory_bandwidth < 1e15
    if workers == 1:
        assert first.contention.gemm == 1.0

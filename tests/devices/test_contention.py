"""Contention between real ranks: never far below 1, and the copies of all are counted."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any
from unittest.mock import patch

import pytest
import torch.distributed as dist

from plait.devices.contention import ContentionReport, measure_contention
from tests.devices.grids import TINY

pytestmark = pytest.mark.clock


@pytest.mark.parametrize("workers", [1, 2])
def test_ranks_at_work_at_once(run_on_ranks: Callable[..., list[Any]], workers: int):
    first, second = run_on_ranks(2, measure_contention, TINY, workers)
    assert first == second
    assert first.contention.ranks == workers
    assert first.contention.gemm > 0.2  # others may disturb the rank that works alone, but not fivefold
    assert first.contention.memory > 0.2
    assert first.contention.cached > 0.2
    assert 1e7 < first.memory_bandwidth < 1e15
    if workers == 1:
        assert first.contention.gemm == 1.0


def test_a_slow_moment_is_no_contention(run_on_ranks: Callable[..., list[Any]]):
    found, _ = run_on_ranks(2, contention_in_a_slow_moment)
    assert (found.contention.gemm, found.contention.cached, found.contention.memory) == (1.0, 1.0, 1.0)


def contention_in_a_slow_moment() -> ContentionReport:
    """On a rank: what is found where both ranks take twice as long in the first two of all turns at once."""
    calls = count()

    def seconds(cases: dict[str, object], **_: object) -> dict[str, float]:
        turn = next(calls) // 3  # as many cases; the second rank has no turns alone
        at_once, slow = (turn % 2 == 1, turn < 4) if dist.get_rank() == 0 else (True, turn < 2)
        return dict.fromkeys(cases, 2.0 if at_once and slow else 1.0)

    with patch("plait.devices.contention.median_seconds", seconds):
        return measure_contention(TINY, 2)

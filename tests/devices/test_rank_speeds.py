"""Speeds of real ranks: the first is 1, all hear the same, and one whose products take longer is told apart."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist

from plait.devices import rank_speeds
from plait.devices.rank_speeds import measure_speeds
from tests.devices.grids import TINY

pytestmark = pytest.mark.clock


def slowed(factor: float) -> tuple[float, ...]:
    """What is measured where the last rank's products are followed by work that makes them `factor` times as long."""
    real = torch.mm

    def slow(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        began = time.thread_time()
        found = real(a, b)
        end = began + factor * (time.thread_time() - began)
        while time.thread_time() < end:
            pass
        return found

    with pytest.MonkeyPatch.context() as patch:
        if dist.get_rank() == dist.get_world_size() - 1:
            patch.setattr(rank_speeds.torch, "mm", slow)
        return measure_speeds(TINY)


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_first_rank_is_what_others_are_measured_by(run_on_ranks: Callable[..., list[Any]], ranks: int):
    first, *others = run_on_ranks(ranks, measure_speeds, TINY)
    assert all(one == first for one in others)
    assert len(first) == ranks
    assert first[0] == 1.0
    assert all(0.2 < speed < 5 for speed in first)


def test_a_slow_rank_is_told_apart(run_on_ranks: Callable[..., list[Any]]):
    assert max(run_on_ranks(2, slowed, 4.0)[0][1] for _ in range(2)) < 0.5

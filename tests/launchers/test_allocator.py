"""A rank keeps the memory that it frees: the blocks of one step come back in the next without page faults."""

from __future__ import annotations

import resource
import sys

import pytest

_SIZES = [size * 2**20 for size in (1, 8, 3, 6, 2, 7, 4, 5)]  # bytes of the blocks of a step


def faults_of_steady_steps(steps: int) -> float:
    """Page faults a step, once the first steps have been taken, as a share of the pages that a step fills."""
    import torch

    def step() -> None:
        kept = [torch.ones(size // 4) for size in _SIZES]
        while kept:
            kept.pop()

    for _ in range(steps):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        step()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return faults / steps / (sum(_SIZES) / resource.getpagesize())


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc's allocator is told")
def test_a_rank_keeps_what_it_frees(run_on_ranks):
    (share,) = run_on_ranks(1, faults_of_steady_steps, 10)
    assert share < 0.25

"""What loses something learns: a short run of each plan comes near the dense one, and far below where it began."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.lossy import PLANS, held_out_loss, task_of

STEPS = 48


@pytest.mark.parametrize("name", ["int8", "powersgd:4", "local-sgd, H = 8"])
def test_it_learns(run_on_ranks, name):
    whole = task_of("small", STEPS)
    first, second = run_on_ranks(2, held_out_loss, replace(whole, plan=replace(whole.plan, **PLANS[name])))
    (dense, _) = run_on_ranks(2, held_out_loss, whole)
    assert first == second
    assert dense < 3.5  # bytes that nothing is known of: ln 256 = 5.5
    assert first < 1.15 * dense

"""A rank that fails in the middle of a step, while the others wait for it in collectives of real training."""

from __future__ import annotations

import os
import time

import pytest

from plait.errors import RankFailure
from plait.launchers import RankPool, RankPools
from plait.models.block import Block
from plait.training.optimizer import Optimizer
from tests.parallel.cases import FP64, TIED, Case, plan
from tests.parallel.measured import build, decays, learn

CASE = Case(name="", model=TIED, plan=plan(data=2, tensor=2, pipeline=2), training=FP64)
FAILING = 5  # of 8: the second stage's first data rank, its second tensor rank


def learn_until_one_fails():
    """Step after step; in the third, one rank's block raises in forward, with messages of all three axes to come."""
    model = build(CASE)
    optimizer = Optimizer(model.weights, model.gradients, decays(CASE), CASE.training)
    plain, calls = Block.forward, []

    def forward(block, hidden, sequences):
        calls.append(sequences.step)
        if model.mesh.rank == FAILING and calls.count(2) == 2:
            raise ArithmeticError("the second microbatch of step 2")
        return plain(block, hidden, sequences)

    Block.forward = forward
    for step in range(10):
        learn(CASE, model, optimizer, step)


def test_all_ranks_end_and_the_first_to_fail_is_named(rank_pools: RankPools):
    pool = RankPool(8, starter=rank_pools.starter)
    pids, start = pool.pids, time.monotonic()
    with pytest.raises(RankFailure) as caught:
        pool.run(learn_until_one_fails)
    assert time.monotonic() - start < 10
    assert caught.value.rank == FAILING
    assert caught.value.report.startswith("ArithmeticError: the second microbatch of step 2\n\nTraceback")
    assert not pool.alive
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

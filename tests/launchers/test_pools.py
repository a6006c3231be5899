"""Pools by their size: kept from task to task, anew when they are spent, and all ended together."""

from __future__ import annotations

import os

import pytest

from plait.errors import RankFailure
from plait.launchers import RankPools


def pid() -> int:
    return os.getpid()


def make_groups(count: int) -> None:
    import torch.distributed as dist

    for _ in range(count):
        dist.new_group([0])


def leave_the_world() -> None:
    import torch.distributed as dist

    dist.destroy_process_group()


@pytest.fixture(scope="module")
def pools():
    with RankPools() as made:
        yield made


def test_a_pool_is_kept(pools):
    first = pools.run(2, pid)
    assert len(set(first)) == 2
    assert pools.run(2, pid) == first
    assert pools.pool(2).count_groups() == [1, 1]


def test_it_is_made_anew_after_a_failure(pools):
    before = pools.run(1, pid)
    with pytest.raises(RankFailure):
        pools.run(1, int, "no number")
    assert pools.run(1, pid) != before


@pytest.mark.parametrize("task", [(make_groups, 60), (leave_the_world,)], ids=["many groups", "no world"])
def test_it_is_made_anew_when_it_is_spent(pools, task):
    before = pools.run(1, pid)
    pools.run(1, *task)
    assert pools.run(1, pid) != before


def test_renewed_it_has_new_ranks_from_the_same_starter(pools):
    before, starter = pools.run(1, pid), pools.starter
    pools.renew()
    assert pools.run(1, pid) != before
    assert pools.starter is starter


def test_closed_it_begins_again():
    with RankPools() as made:
        before, starter = made.run(1, pid), made.starter
        made.close()
        assert not starter.alive
        assert made.run(1, pid) != before

"""What every test may ask for: ranks that stay alive through the session, and hypothesis profiles.

    def test_something(run_on_ranks):
        assert run_on_ranks(2, a_function_of_this_module, 3) == [..., ...]     # results by rank

`a_function_of_this_module` is imported by the ranks: keep it at the top level, and slow imports (transformers) inside
functions. It leaves torch's global settings (default dtype, deterministic mode) as it found them: the ranks live on.
A test that fails a rank kills only its own pool; the next test that asks for that size gets a new one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings

from plait.launchers import TRAINING_MODULES, RankPool, Starter, default_starter

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("default", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "default")

RunOnRanks = Callable[..., list[Any]]

_MODULES = (*TRAINING_MODULES, "hypothesis", "pytest")  # imported once, by the zygote
_MOST_GROUPS = 50  # each process group of gloo holds three threads and some sockets, for as long as its rank lives


class SessionPools:
    """One pool a size, made when first asked for, all from one zygote."""

    def __init__(self) -> None:
        self._starter: Starter | None = None
        self._pools: dict[int, RankPool] = {}

    @property
    def starter(self) -> Starter:
        """What all pools start from; anew if it is gone."""
        if self._starter is None or not self._starter.alive:
            self.close()
            self._starter = default_starter(modules=_MODULES)
        return self._starter

    def pool(self, ranks: int) -> RankPool:
        """The pool of that size; anew if a test has killed it."""
        starter = self.starter
        if ranks not in self._pools or not self._pools[ranks].alive:
            self._pools[ranks] = RankPool(ranks, starter=starter)
        return self._pools[ranks]

    def run(self, ranks: int, function: Callable[..., Any], *args: object, **options: Any) -> list[Any]:
        """`RankPool.run` on the pool of that size, given up when tests have left too many groups in it, or none."""
        pool = self.pool(ranks)
        results = pool.run(function, *args, **options)
        if not all(1 <= groups <= _MOST_GROUPS for groups in pool.run(_count_groups)):
            pool.close()
        return results

    def close(self) -> None:
        """End every rank and the zygote."""
        for pool in self._pools.values():
            pool.close()
        if self._starter is not None:
            self._starter.close()
        self._pools, self._starter = {}, None


def _count_groups() -> int:
    from torch.distributed import distributed_c10d

    return len(distributed_c10d._world.pg_map)


@pytest.fixture(scope="session")
def rank_pools() -> Iterator[SessionPools]:
    """The session's pools, for tests of the pools themselves."""
    pools = SessionPools()
    yield pools
    pools.close()


@pytest.fixture
def run_on_ranks(rank_pools: SessionPools) -> RunOnRanks:
    """`run_on_ranks(n, function, *args, timeout=None, on_event=None)`: call it on n ranks; its results by rank."""
    return rank_pools.run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs several processes, so that `-m "not ranks"` is quick."""
    for item in items:
        if "rank_pools" in getattr(item, "fixturenames", ()):
            item.add_marker("ranks")

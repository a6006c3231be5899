"""Ranks that stay alive through a long campaign: one pool a size, renewed before it grows heavy and after a failure.

    with KeptPools() as pools:
        verify_plan(job, plan, run=pools.run)

It knows pools of ranks and the process groups that tasks leave in them; it must not know what the ranks compute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from plait.launchers import RankPool, Starter, default_starter

__all__ = ["KeptPools", "count_groups"]

_MOST_GROUPS = 40  # each process group of gloo holds three threads and some sockets, for as long as its rank lives
_PATIENCE = 120.0  # seconds without a word from any rank


class KeptPools:
    """Pools by their number of ranks, each made when first asked for, all from one starter."""

    def __init__(self) -> None:
        self._starter: Starter | None = None
        self._pools: dict[int, RankPool] = {}

    def run(self, ranks: int, function: Callable[..., Any], *args: object) -> list[Any]:
        """Perform `function(*args)` on so many ranks; what it returned, by rank. Raises as `RankPool.run` does."""
        pool = self._pool(ranks)
        results = pool.run(function, *args)
        if max(pool.run(count_groups)) > _MOST_GROUPS:
            pool.close()
        return results

    def close(self) -> None:
        """End every rank."""
        for pool in self._pools.values():
            pool.close()
        if self._starter is not None:
            self._starter.close()
        self._pools, self._starter = {}, None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pool(self, ranks: int) -> RankPool:
        if self._starter is None or not self._starter.alive:
            self.close()
            self._starter = default_starter()
        if ranks not in self._pools or not self._pools[ranks].alive:
            self._pools[ranks] = RankPool(ranks, starter=self._starter, timeout=_PATIENCE)
        return self._pools[ranks]


def count_groups() -> int:
    """On a rank: the process groups that it holds."""
    from torch.distributed import distributed_c10d

    return len(distributed_c10d._world.pg_map)

"""Pools of ranks by their size, all from one starter: each made when it is first asked for, and anew when it is spent.

    with RankPools() as pools:
        pools.run(2, function, ...)        # a pool of 2
        pools.run(4, function, ...)        # and one of 4, beside it
        pools.run(2, function, ...)        # the same 2

A pool is spent when a rank of it has failed, when it has lost its world, or when tasks have left so many process groups
in it that they weigh. It knows pools and their groups; it must not know what the ranks compute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from plait.launchers.local import RankPool
from plait.launchers.starters import TRAINING_MODULES, FreshProcesses, Zygote, default_starter

__all__ = ["RankPools"]

_MOST_GROUPS = 50  # each process group of gloo holds three threads and some sockets, for as long as its rank lives


class RankPools:
    """`modules` are imported once, by what the ranks are forked from; `backend` and `timeout` are each pool's. Not for
    several threads at once."""

    def __init__(
        self, *, modules: Sequence[str] = TRAINING_MODULES, backend: str = "gloo", timeout: float = 60.0
    ) -> None:
        self._modules, self._backend, self._timeout = modules, backend, timeout
        self._starter: Zygote | FreshProcesses | None = None
        self._pools: dict[int, RankPool] = {}

    @property
    def starter(self) -> Zygote | FreshProcesses:
        """What all pools start from; anew if it is gone."""
        if self._starter is None or not self._starter.alive:
            self.close()
            self._starter = default_starter(self._backend, modules=self._modules)
        return self._starter

    def pool(self, ranks: int) -> RankPool:
        """The pool of that size; anew if it is dead."""
        starter = self.starter
        if ranks not in self._pools or not self._pools[ranks].alive:
            self._pools[ranks] = RankPool(ranks, backend=self._backend, starter=starter, timeout=self._timeout)
        return self._pools[ranks]

    def run(self, ranks: int, function: Callable[..., Any], *args: object, **options: Any) -> list[Any]:
        """`RankPool.run` on the pool of that size, which is given up afterwards if it is spent."""
        pool = self.pool(ranks)
        results = pool.run(function, *args, **options)
        if not all(1 <= groups <= _MOST_GROUPS for groups in pool.count_groups()):
            pool.close()
        return results

    def renew(self) -> None:
        """End every rank; the next task begins with new ones."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    def close(self) -> None:
        """End every rank, and what they started from; the next task begins again."""
        self.renew()
        if self._starter is not None:
            self._starter.close()
        self._starter = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

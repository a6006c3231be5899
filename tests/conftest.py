"""What every test may ask for: ranks that stay alive through the session, and hypothesis profiles.

    def test_something(run_on_ranks):
        assert run_on_ranks(2, a_function_of_this_module, 3) == [..., ...]     # results by rank

`a_function_of_this_module` is imported by the ranks: keep it at the top level, and slow imports (transformers) inside
functions. It leaves torch's global settings (default dtype, deterministic mode) as it found them: the ranks live on.
A test that fails a rank kills only its own pool; the next test that asks for that size gets a new one.

What measures time is marked `clock`: `make test` runs the others two at a time, and these alone (`tests.halves`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings

from plait.launchers import TRAINING_MODULES, RankPools

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("default", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "default")

RunOnRanks = Callable[..., list[Any]]

_LAUNCHED = ("hosts", "examples")  # folders whose tests start whole programs of ranks
_MODULES = (*TRAINING_MODULES, "hypothesis", "pytest")  # imported once, by the zygote


@pytest.fixture(scope="session")
def rank_pools() -> Iterator[RankPools]:
    """The session's pools, for tests of the pools themselves."""
    with RankPools(modules=_MODULES) as pools:
        yield pools


@pytest.fixture
def run_on_ranks(rank_pools: RankPools) -> RunOnRanks:
    """`run_on_ranks(n, function, *args, timeout=None, on_event=None)`: call it on n ranks; its results by rank."""
    return rank_pools.run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs several processes, so that `-m "not ranks"` is quick."""
    for item in items:
        if "rank_pools" in getattr(item, "fixturenames", ()) or item.path.parent.name in _LAUNCHED:
            item.add_marker("ranks")

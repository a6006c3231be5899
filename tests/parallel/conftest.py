"""Each case is run once a session; every test that asks gets the same measurements."""

from __future__ import annotations

import pytest

from plait.launchers import RankPools
from tests.parallel.cases import Case
from tests.parallel.measured import Ask, Measured, measure


@pytest.fixture(scope="session")
def measured(rank_pools: RankPools) -> Ask:
    """`measured(case)`: what each rank of the case's plan does in a step, by rank."""
    known: dict[str, list[Measured]] = {}

    def ask(case: Case) -> list[Measured]:
        if case.name not in known:
            known[case.name] = rank_pools.run(case.plan.ranks, measure, case)
        return known[case.name]

    return ask

"""One `parity` for the session, so that each one-process run is computed once."""

from __future__ import annotations

import pytest

from plait.launchers import RankPools
from tests.parity.harness import Parity


@pytest.fixture(scope="session")
def parity(rank_pools: RankPools) -> Parity:
    """`parity.holds(model, training, plan)`."""
    return Parity(rank_pools.run)

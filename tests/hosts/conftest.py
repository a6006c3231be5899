"""Two hosts for the length of a test module, or a stated reason why there are none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hosts.namespaces import Hosts, missing_for_hosts, two_hosts


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """Two namespaces joined at 1 Gbit/s; `throttle` changes that."""
    missing = missing_for_hosts()
    if missing is not None:
        pytest.skip(missing)
    with two_hosts() as made:
        yield made

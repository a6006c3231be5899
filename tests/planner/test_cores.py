"""Who of a pipeline shares cores with whom, by hand and against a count of every rank."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.planner.cores import SharedCores, shared_cores


@pytest.mark.parametrize(
    ("cores", "ranks_a_host", "pipeline", "size", "shared"),
    [
        (2, 10**6, 2, 2, (2, (0, 0), (2, 2))),  # four ranks on a host of two cores
        (2, 2, 2, 2, (None, (0, 0), (2, 2))),
        (None, 2, 2, 2, (None, (0, 0), (2, 2))),
        (1, 2, 2, 2, (1, (0, 1), (2, 2))),  # a stage's replicas share a core
        (1, 2, 4, 1, (1, (0, 0, 1, 1), (1, 1, 1, 1))),  # two stages do
        (1, 2, 1, 4, (1, (0,), (2,))),  # a replica a host
        (1, 2, 2, 4, (1, (0, 2), (2, 2))),  # each stage on two hosts
        (1, 3, 3, 2, (1, (0, 0, 1), (2, 1, 2))),  # the stage in the middle stands on both
        (1, 4, 2, 6, (1, (0, 2), (4, 4))),
    ],
)
def test_who_stands_where(cores, ranks_a_host, pipeline, size, shared):
    assert shared_cores(pipeline, size, ranks_a_host=ranks_a_host, cores=cores) == SharedCores(*shared)


@given(st.integers(1, 6), st.integers(1, 7), st.integers(1, 7), st.integers(1, 4))
def test_a_host_is_asked_for_no_more_than_its_own_ranks(pipeline, size, ranks_a_host, cores):
    found = shared_cores(pipeline, size, ranks_a_host=ranks_a_host, cores=cores)
    if found.each is None:
        assert min(ranks_a_host, pipeline * size) <= cores
        return
    for place, (host, demand) in enumerate(zip(found.hosts, found.demands, strict=True)):
        held = [rank // ranks_a_host for rank in range(place * size, (place + 1) * size)]
        assert held.count(host) == demand == max(map(held.count, held))
        assert found.crowd(place) == max(1.0, demand / cores)
    for host in found.hosts:
        together = [demand for at, demand in zip(found.hosts, found.demands, strict=True) if at == host]
        assert sum(together) <= ranks_a_host
    assert found.full([1.0] * pipeline) * cores <= ranks_a_host

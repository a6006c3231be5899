"""Who of a pipeline shares cores with whom, by hand and against a count of every rank."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.planner.cores import SharedCores, shared_cores


@pytest.mark.parametrize(
    ("cores", "ranks_a_host", "pipeline", "size", "shared"),
    [
        (2, 10**6, 2, 2, (2, 2, (0, 0))),  # four ranks on a host of two cores
        (2, 2, 2, 2, (None, 2, (0, 0))),
        (None, 2, 2, 2, (None, 2, (0, 0))),
        (1, 2, 2, 2, (1, 2, (0, 1))),  # a stage's replicas share a core
        (1, 2, 4, 1, (1, 1, (0, 0, 1, 1))),  # two stages do
        (1, 2, 1, 4, (1, 2, (0,))),  # a replica a host
        (1, 2, 2, 4, (1, 2, (0, 2))),  # each stage on two hosts
        (1, 3, 3, 2, (1, 2, (0, 0, 1))),  # the stage in the middle stands on both
        (1, 4, 2, 6, (1, 4, (0, 2))),
    ],
)
def test_who_stands_where(cores, ranks_a_host, pipeline, size, shared):
    assert shared_cores(pipeline, size, ranks_a_host=ranks_a_host, cores=cores) == SharedCores(*shared)


@given(st.integers(1, 6), st.integers(1, 7), st.integers(1, 7), st.integers(1, 4))
def test_each_stands_where_most_of_it_does(pipeline, size, ranks_a_host, cores):
    found = shared_cores(pipeline, size, ranks_a_host=ranks_a_host, cores=cores)
    if found.each is None:
        assert min(ranks_a_host, pipeline * size) <= cores
        return
    for place, host in enumerate(found.hosts):
        held = [rank // ranks_a_host for rank in range(place * size, (place + 1) * size)]
        assert held.count(host) == max(map(held.count, held)) <= found.demand
    assert found.demand == min(size, ranks_a_host)
    assert found.crowd == max(1.0, found.demand / cores)
    if size % ranks_a_host == 0 or ranks_a_host % size == 0:  # hosts of whole ranks of the pipeline, or these of hosts
        assert found.full([1.0] * pipeline) * cores <= ranks_a_host

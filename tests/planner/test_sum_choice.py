"""What is said to perform a plan's sums, and how many there are; tests/collectives/test_told.py asks the wire."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.planner.prices import JobPrices
from plait.planner.sum_choice import sum_words, sums_over_data
from plait.plans.plan import Plan
from plait.specs.cluster import ClusterSpec
from tests.planner.machines import machine
from tests.planner.shapes import GPT2, TRAINING

DP4 = Plan(data=4, data_shares=(1,) * 4, stages=(2,), bucket_bytes=4 * 872)


def sums(plan, nodes, link="ethernet-1gbit"):
    cluster = ClusterSpec(ranks=4, nodes=nodes, inter_link=link)
    prices = JobPrices(GPT2, TRAINING, machine(cores=4, backend="shared-memory"), cluster)
    return prices, sums_over_data(plan, prices)


def test_on_one_host_it_is_the_host_s_own():
    _, found = sums(DP4, 1)
    assert {one.algorithm for one in found} == {"shared-memory"}
    assert sum(one.count for one in found) == 3


@pytest.mark.parametrize(("nodes", "algorithm"), [(4, "doubling"), (2, "two levels, doubling across")])
def test_between_hosts_it_is_told_by_the_hosts(nodes, algorithm):
    """Messages of a few KB, for which a ring of 4 would begin six times, and doubling does twice."""
    _, found = sums(DP4, nodes)
    assert {one.algorithm for one in found} == {algorithm}


def test_pieces_go_around_a_ring_and_words_count_them():
    _, found = sums(replace(DP4, zero=1), 4)
    assert {(one.kind, one.algorithm) for one in found} == {("reduce_scatter", "ring")}
    assert sum_words(found).startswith("sums over data: 3 messages (")
    assert sum_words(found, 8).startswith("sums over data every 8 steps: 3 messages (")
    assert sum_words(()) == ""
    assert {one.algorithm for one in sums(replace(DP4, zero=1), 2)[1]} == {"two levels, ring across"}


def test_servers_are_sent_to_and_portions_are_summed_by_nobody():
    served = Plan(data=2, stages=(2,), data_shares=(1, 1), synchronisation="parameter-server")
    _, found = sums(served, 1)
    assert {one.kind for one in found} == {"send", "receive"}
    assert sums(replace(served, staleness=1), 1)[1] == ()

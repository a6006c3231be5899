"""A cluster of the catalogue is read whole: names become figures; what is left out is as such machines usually are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.specs.cluster import ClusterSpec, GroupSpec
from plait.specs.connections import BETWEEN, INSIDE
from plait.specs.devices import DEVICES
from plait.specs.files import job_from_table, job_table, parse_job
from plait.specs.machines import machines_of
from plait.specs.values import MOST_RANKS

MODEL = {"layers": 2, "hidden": 8, "heads": 2}
FAST = {"device": "a100-80gb"}
SLOW = {"device": "rtx-4090", "nodes": 2, "devices_per_node": 4, "price_per_hour": 0.40, "power_watts": 450}


def cluster_of(keys: dict[str, Any]) -> ClusterSpec:
    return job_from_table({"model": MODEL, "cluster": keys}).cluster


def test_the_page_s_cluster():
    cluster = cluster_of({
        "device": "a100-80gb", "nodes": 128, "devices_per_node": 8, "intra_link": "nvlink3", "inter_link": "ib-hdr-x8",
    })  # fmt: skip
    (machines,) = machines_of(cluster)
    assert cluster.ranks == machines.ranks == 1024
    assert (machines.first_rank, machines.nodes, machines.devices_per_node, machines.domain) == (0, 128, 8, 8)
    assert machines.device is DEVICES["a100-80gb"]
    assert machines.inside is INSIDE["nvlink3"]
    assert machines.between.cards == 8
    assert (machines.price_per_hour, machines.power_watts) == (None, 400.0)


@pytest.mark.parametrize(
    ("keys", "nodes", "each"),
    [
        ({}, 1, 8),
        ({"nodes": 4}, 4, 8),
        ({"ranks": 64}, 8, 8),
        ({"ranks": 4}, 1, 4),
        ({"ranks": 12}, 2, 6),
        ({"devices_per_node": 4}, 1, 4),
        ({"devices_per_node": 4, "ranks": 16}, 4, 4),
        ({"nodes": 2, "ranks": 6}, 2, 3),
        ({"nodes": 2, "devices_per_node": 3, "ranks": 6}, 2, 3),
    ],
)
def test_what_is_left_out_of_equal_machines(keys, nodes, each):
    cluster = cluster_of({**FAST, **keys})
    (machines,) = machines_of(cluster)
    assert (machines.nodes, machines.devices_per_node, cluster.ranks) == (nodes, each, nodes * each)
    assert not cluster.ranks_open


def test_unequal_machines_are_numbered_group_by_group():
    cluster = cluster_of(
        {"groups": [SLOW, FAST], "inter_link": "ethernet-10gbit", "price_per_hour": 2.0, "name": "lab"}
    )
    slow, fast = machines_of(cluster)
    assert (cluster.ranks, cluster.nodes, cluster.name) == (16, 3, "lab")
    assert (slow.first_rank, slow.ranks, slow.price_per_hour, slow.power_watts) == (0, 8, 0.40, 450)
    assert (fast.first_rank, fast.ranks, fast.price_per_hour, fast.power_watts) == (8, 8, 2.0, 400.0)
    assert slow.between == fast.between == BETWEEN["ethernet-10gbit"]
    assert (slow.inside.name, fast.inside.name) == ("pcie4-via-host", "nvlink3")


def test_a_group_s_own_links_go_first():
    keys = {
        "groups": [{**FAST, "inter_link": "ib-hdr-x4"}, SLOW],
        "inter_link": "ethernet-1gbit",
        "intra_link": "pcie3",
    }
    fast, slow = machines_of(cluster_of(keys))
    assert (fast.between.name, slow.between.name, fast.inside.name) == ("ib-hdr-x4", "ethernet-1gbit", "pcie3")


def test_fewer_devices_have_fewer_cards():
    for each, cards in ((8, 8), (4, 4), (1, 1)):
        (machines,) = machines_of(cluster_of({"device": "h100-80gb", "nodes": 2, "devices_per_node": each}))
        assert machines.between.cards == cards


def test_a_domain_may_span_hosts():
    for nodes, domain in ((1, 4), (9, 36), (18, 72), (36, 72)):
        (machines,) = machines_of(cluster_of({"device": "gb200", "nodes": nodes}))
        assert machines.domain == domain


def test_there_are_no_machines_of_this_one():
    assert machines_of(ClusterSpec(ranks=4)) == ()
    assert not ClusterSpec(ranks=4).elsewhere


def test_a_name_that_nobody_judged_is_an_error():
    with pytest.raises(KeyError, match="abacus"):
        machines_of(ClusterSpec(device="abacus"))
    with pytest.raises(KeyError, match="string"):
        machines_of(ClusterSpec(groups=(GroupSpec(device="h200", inter_link="string"),)))


@pytest.mark.parametrize(
    "keys",
    [
        {**FAST, "nodes": 4, "price_per_hour": 1.5, "name": "lab"},
        {"groups": [SLOW, FAST]},
        {"groups": [FAST], "inter_link": "ib-hdr-x2"},
        {**FAST, "nodes": 2, "devices_per_node": 8, "intra_link": "pcie4", "power_watts": 300},
    ],
)
def test_a_cluster_is_written_as_it_was_read(keys):
    job = job_from_table({"model": MODEL, "cluster": keys})
    assert job_from_table(job_table(job)) == job
    written = job_table(job)["cluster"]
    for group in written.get("groups", []):
        assert group.pop("nodes") >= 1
    plain = {**keys, **({"groups": [dict(group) for group in keys["groups"]]} if "groups" in keys else {})}
    for group in plain.get("groups", []):
        group.pop("nodes", None)
    assert {key: value for key, value in written.items() if key in plain} == plain


@pytest.mark.parametrize("keys", [{"device": "h100-80gb"}, {"device": "rtx-4090", "devices_per_node": 2},
                                  {"devices_per_node": 2}])  # fmt: skip
def test_no_more_ranks_than_there_may_be_come_of_nodes(keys):
    (problem,) = parse_job({"model": MODEL, "cluster": {**keys, "nodes": MOST_RANKS}}).problems
    assert problem.key == "cluster.nodes"
    assert f"more than {MOST_RANKS}, the most there may be" in problem.message


NUMBERS = st.one_of(st.integers(-1, 40), st.sampled_from([2**20, 2**40, 2**62, 1.5, "8", None]))
KEYS = st.fixed_dictionaries(
    {},
    optional={
        "device": st.sampled_from(["h100-80gb", "h100", "rtx-4090", "", 3]), "nodes": NUMBERS, "ranks": NUMBERS,
        "devices_per_node": NUMBERS, "intra_link": st.sampled_from(["nvlink4", "ib-hdr", "x"]),
        "inter_link": st.sampled_from(["ib-hdr-x8", "ib-hdr-x0", "nvlink4", "ethernet-1gbit"]),
        "price_per_hour": st.sampled_from([0, 2.5, -1, "2"]), "power_watts": st.sampled_from([0, 450, float("inf")]),
    },
)  # fmt: skip
CLUSTERS = st.builds(
    lambda keys, groups, name: {**keys, **({} if groups is None else {"groups": groups}), **name},
    KEYS, st.one_of(st.none(), st.lists(KEYS, max_size=3), st.just(7)), st.sampled_from([{}, {"name": "lab"}]),
)  # fmt: skip


@given(CLUSTERS)
def test_any_table_is_a_cluster_or_problems_with_words(keys):
    parsed = parse_job({"model": MODEL, "cluster": keys})
    cluster = parsed.job.cluster
    assert all(problem.message and problem.key.startswith("cluster.") for problem in parsed.problems)
    if not parsed.problems:
        assert job_from_table(job_table(parsed.job)) == parsed.job or cluster.ranks_open
        assert 1 <= cluster.ranks <= MOST_RANKS
        assert cluster.elsewhere == bool(keys.keys() & {"device", "groups"})
        if cluster.elsewhere:
            machines = machines_of(cluster)
            assert sum(one.ranks for one in machines) == cluster.ranks
            assert all(1 <= one.domain <= one.ranks for one in machines)

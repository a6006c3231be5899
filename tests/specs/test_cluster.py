"""The cores that count are those that this process may use, wherever it is asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plait.specs.catalogue import ASSUMED, speed_between
from plait.specs.cluster import ClusterSpec, has_accelerator, misplaced, usable_cores
from plait.specs.connections import BETWEEN
from plait.specs.files import job_from_table, job_table


def test_there_is_a_core():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(("name", "there"), [("nvidiactl", True), ("kfd", True), ("dri", False)])
def test_an_accelerator_is_known_by_its_driver(tmp_path: Path, name: str, there: bool):
    assert not has_accelerator(tmp_path)
    (tmp_path / name).touch()
    assert has_accelerator(tmp_path) is there


@pytest.mark.parametrize(
    ("quota", "cores"), [("50000 100000", 1), ("100000 100000", 1), ("max 100000", None), ("", None)]
)
def test_a_container_s_quota_counts(tmp_path: Path, quota: str, cores: int | None):
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert usable_cores(tmp_path) == (cores or usable_cores(tmp_path / "none"))


@pytest.mark.parametrize(
    ("nodes", "each", "ranks", "key"),
    [
        (1, None, None, None),
        (2, 3, None, None),
        (2, 3, 6, None),
        (2, None, 6, None),
        (2, 3, 5, "cluster.ranks"),
        (4, None, 6, "cluster.nodes"),
        (2, None, None, "cluster.devices_per_node"),
        (2**40, 2, None, "cluster.nodes"),
        (2, 2**40, None, "cluster.devices_per_node"),
        (2**40, 2**40, None, "cluster.devices_per_node"),
    ],
)
def test_where_ranks_stand(nodes, each, ranks, key):
    problem = misplaced(nodes, each, ranks)
    assert (problem.key if problem else None) == key


def test_what_no_single_number_mends_says_so():
    problem = misplaced(10**9, 10**9, None)
    assert problem is not None
    assert "and nodes no more than" in str(problem)


@pytest.mark.parametrize(
    "keys",
    [
        {"nodes": 2, "devices_per_node": 3, "inter_link": "ethernet-10gbit"},
        {"nodes": 2, "ranks": 6},
        {"devices_per_node": 3},
        {"ranks": 6},
    ],
)
def test_a_cluster_is_written_as_it_was_read(keys):
    job = job_from_table({"model": {"layers": 2, "hidden": 8, "heads": 2}, "cluster": keys})
    assert job_from_table(job_table(job)) == job
    assert job.cluster.ranks in (3, 6)
    assert job.cluster.ranks_a_node == job.cluster.ranks // keys.get("nodes", 1)
    assert {key: value for key, value in job_table(job)["cluster"].items() if key in keys} == keys


def test_links_are_as_fast_as_they_say_but_for_headers():
    assert ASSUMED in BETWEEN
    for name in [name for name in BETWEEN if name.startswith("ethernet")]:
        link = speed_between(name)
        number, unit = name.removeprefix("ethernet-")[:-4], name[-4:]
        bits = int(number) * {"mbit": 1e6, "gbit": 1e9}[unit]
        assert 0.93 * bits < 8 * link.bytes_per_second < 0.95 * bits
        assert 1e-5 < link.alpha < 1e-3
    assert ClusterSpec().inter_link is None

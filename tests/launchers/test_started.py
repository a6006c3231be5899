"""What torchrun has started, as a job sees it: ranks that it leaves open, and hosts that it doesn't name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.launchers import started
from plait.launchers.started import hosts_of, on_started_ranks
from plait.launchers.torchrun import Place
from plait.specs.cluster import ClusterSpec
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec

JOB = Job(
    model=ModelSpec(layers=2, hidden=64, heads=4, kv_heads=4, ffn=256, vocab=256, max_positions=32),
    training=TrainingSpec(global_batch=8, sequence_length=16),
)
ON_TWO = ClusterSpec(ranks=4, nodes=2, devices_per_node=2)


@pytest.fixture
def two_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(
        rank=0, size=4, local_rank=0, local_size=2, host=0, hosts=2, address="a", port=1, agent_store=False, attempt=0
    )  # fmt: skip
    monkeypatch.setattr(started, "place", lambda: place)


@pytest.mark.usefixtures("two_hosts")
@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (ClusterSpec(ranks=2, ranks_open=True), replace(ON_TWO, ranks_open=True)),
        (ClusterSpec(ranks=4), ON_TWO),
        (ClusterSpec(ranks=4, inter_link="ethernet-10gbit"), replace(ON_TWO, inter_link="ethernet-10gbit")),
        (ClusterSpec(ranks=2), ClusterSpec(ranks=2)),
        (replace(ON_TWO, nodes=4, devices_per_node=1), replace(ON_TWO, nodes=4, devices_per_node=1)),
        (ClusterSpec(ranks=4, device="a100-80gb"), ClusterSpec(ranks=4, device="a100-80gb")),
    ],
    ids=["open", "as many", "and a link", "fewer", "other nodes", "the catalogue's"],
)
def test_ranks_stand_on_the_hosts_that_torchrun_has_started(asked: ClusterSpec, found: ClusterSpec):
    assert on_started_ranks(replace(JOB, cluster=asked)).cluster == found


def test_without_torchrun_a_job_stays_as_it_is():
    assert on_started_ranks(replace(JOB, cluster=ClusterSpec(ranks=4))).cluster == ClusterSpec(ranks=4)


def test_hosts_are_the_job_s_own_also_before_torchrun_has_started_them():
    assert hosts_of(JOB) == 1
    assert hosts_of(replace(JOB, cluster=ON_TWO)) == 2


@pytest.mark.usefixtures("two_hosts")
def test_hosts_that_a_job_does_not_name_are_those_that_torchrun_has_started():
    assert hosts_of(JOB) == hosts_of(replace(JOB, cluster=ON_TWO)) == 2

"""Plans of unequal machines: a stage is charged with its own layers on its own group, and counts are of legal plans."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from plait.clusters.answer import plan_cluster, price_plan
from plait.clusters.groups import found_on_groups
from plait.clusters.pipelines import row_of
from plait.clusters.tasks import tasks_of
from plait.clusters.unequal import pipelines_of
from plait.errors import IllegalJob
from plait.estimates.layers import layers_of
from plait.plans.legality import plan_problems
from plait.plans.plan import Plan
from plait.specs.cluster import ClusterSpec, GroupSpec
from tests.clusters.jobs import unequal


def stages(*blocks: int, data: int = 4) -> Plan:
    return Plan(data=data, pipeline=len(blocks), microbatch=1, stages=blocks, data_shares=(1,) * data,
                tensor_shares=(1,))  # fmt: skip


def test_a_stage_sums_and_updates_no_more_layers_than_it_has():
    plan, tasks = stages(7, 1), tasks_of(unequal())
    fast, slow = (layers_of(task, row_of(plan), np.array(plan.stages)) for task in tasks)
    terms = price_plan(unequal(), plan).terms
    slower = fast.slower
    assert terms.exposed["data"] == pytest.approx(slower * max(fast.data[0], slow.data[1]))
    assert terms.exposed["data"] < 0.9 * slower * slow.data[0]  # seven layers over the slow machines' links
    updated = max(fast.optimizer[0], slow.optimizer[1]) + fast.fixed
    assert terms.optimizer == pytest.approx(slower * updated)
    assert updated < slow.optimizer[0] + slow.fixed


def test_stages_of_one_group_send_between_its_hosts_where_they_lie_on_two():
    """Two hosts of two A100 and two of two H100, a place on each device: every second boundary is one of hosts."""
    groups = tuple(GroupSpec(device=name, nodes=2, devices_per_node=2) for name in ("h100-80gb", "a100-80gb"))
    asked = replace(unequal(), cluster=ClusterSpec(groups=groups, ranks=8))
    plan, tasks = stages(*(1,) * 8, data=1), tasks_of(asked)
    fast, slow = (layers_of(task, row_of(plan), np.ones(8, dtype=np.int64)) for task in tasks)
    (found,) = pipelines_of(plan, tasks)
    between = max(fast.far, slow.far)
    assert found.sends == (fast.near, fast.far, fast.near, between, slow.near, slow.far, slow.near)


def test_plans_that_are_not_legal_are_neither_counted_nor_proposed():
    asked = unequal(microbatch=16)  # more than the eight sequences of each of eight replicas
    found = plan_cluster(asked)
    assert 0 < found.legal < found.considered
    assert all(plan_problems(asked, one.plan) == [] for one in found.plans)
    everything = plan_cluster(unequal())
    assert everything.legal == everything.considered


def test_where_none_is_legal_it_is_told():
    asked = unequal(microbatch=65)
    with pytest.raises(IllegalJob, match="microbatch"):
        found_on_groups(asked, tasks_of(asked))

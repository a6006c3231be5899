"""Plans of unequal machines: a stage is charged with its own layers on its own group, and counts are of legal plans."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from plait.clusters.pipelines import row_of
from plait.clusters.tasks import tasks_of
from plait.clusters.unequal import pipelines_of
from plait.estimates.layers import layers_of
from plait.plans.plan import Plan
from plait.specs.cluster import ClusterSpec, GroupSpec
from tests.clusters.jobs import unequal


def stages(*blocks: int, data: int = 4) -> Plan:
    return Plan(data=data, pipeline=len(blocks), microbatch=1, stages=blocks, data_shares=(1,) * data,
                tensor_shares=(1,))  # fmt: skip


def test_stages_of_one_group_send_between_its_hosts_where_they_lie_on_two():
    """Two hosts of two A100 and two of two H100, a place on each device: every second boundary is one of hosts."""
    groups = tuple(GroupSpec(device=name, nodes=2, devices_per_node=2) for name in ("h100-80gb", "a100-80gb"))
    asked = replace(unequal(), cluster=ClusterSpec(groups=groups, ranks=8))
    plan, tasks = stages(*(1,) * 8, data=1), tasks_of(asked)
    fast, slow = (layers_of(task, row_of(plan), np.ones(8, dtype=np.int64)) for task in tasks)
    (found,) = pipelines_of(plan, tasks)
    between = max(fast.far, slow.far)
    assert found.sends == (fast.near, fast.far, fast.near, between, slow.near, slow.far, slow.near)

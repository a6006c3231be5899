"""Who of a pipeline is expected ahead, as the wire between two stages says; what sharing cores does to messages, and
who shares them with whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.planner.machine import Machine
from plait.planner.prices import JobPrices
from plait.planner.simulator import played
from plait.planner.spread import Spread, inside
from plait.planner.timetable import scored
from plait.plans.plan import Plan
from plait.schedules.action import COMPUTE
from plait.schedules.score import score_of
from plait.specs.cluster import ClusterSpec
from plait.specs.links import Link
from tests.planner.machines import machine
from tests.planner.shapes import GPT2, TRAINING

MEMORY = replace(
    machine(cores=4),
    collectives=(Link(backend="shared-memory", kind="send", ranks=2, alpha0=0.0, alpha1=0.0, bytes_per_second=1e9),),
)
TWO_HOSTS = ClusterSpec(ranks=4, nodes=2)
FOUR = Plan(pipeline=4, stages=(1,) * 4, schedule="gpipe")


@pytest.mark.parametrize(
    ("measured", "cluster", "ahead"),
    [
        (MEMORY, ClusterSpec(ranks=4), (False, False, False)),
        (MEMORY, TWO_HOSTS, (False, True, False)),  # only between the hosts
        (MEMORY, ClusterSpec(ranks=4, nodes=4), (True, True, True)),
        (machine(cores=4), TWO_HOSTS, (True, True, True)),  # gloo also inside
        (machine(), TWO_HOSTS, (False, False, False)),  # of accelerators
    ],
    ids=["one host", "two hosts", "four hosts", "gloo", "accelerators"],
)
def test_stages_expect_ahead_what_no_shared_memory_carries(measured, cluster, ahead):
    assert Machine(measured, "fp32", cluster).receives_ahead(FOUR) == ahead


def test_an_axis_that_stands_unlike_on_its_hosts_has_one_wire():
    """Replica 0 has three of its five stages on the first host, replica 1 two: all go over gloo, inside too."""
    plan = Plan(data=2, pipeline=5, stages=(1,) * 5, schedule="gpipe", data_shares=(1, 1))
    there = Machine(MEMORY, "fp32", ClusterSpec(ranks=10, nodes=2))
    assert there.spread(plan, "pipeline").hosts == (1,) * 5
    assert there.receives_ahead(plan) == (True,) * 4


def test_the_simulation_plays_each_pair_as_its_wire_is(monkeypatch):
    """Both ends of a transfer are told alike; only what crosses is expected."""
    told = {}

    def scoring(schedule, ahead, **more):
        actions = [action for program in schedule.programs for step in program for action in step]
        told.update({str(one): ahead(one) for one in actions if one.kind not in COMPUTE})
        return score_of(schedule, ahead, **more)

    monkeypatch.setattr("plait.planner.timetable.score_of", scoring)
    scored.cache_clear()
    played(FOUR, JobPrices(replace(GPT2, layers=4), TRAINING, MEMORY, TWO_HOSTS))
    crossing = {name for name, ahead in told.items() if ahead}
    microbatches = {name[-1] for name in told}
    expected = {"1SEND_F", "2RECV_F", "2SEND_B", "1RECV_B"}
    assert crossing == {way + microbatch for way in expected for microbatch in microbatches}


def test_a_message_is_slowed_down_once_and_a_network_not_at_all():
    """Two cores: the link between four ranks of a host was measured with two on each. What slows all work down gets
    seconds that come to the same."""
    here, across = inside(4), Spread(hosts=(2, 2))
    known = Machine(machine(cores=2, latency=1e-3, link=1e18), "fp32", ClusterSpec(ranks=8, nodes=1))
    alone = {group: known.communication.seconds("send", group, 1) for group in (inside(2), here, across)}
    assert known.message("send", here, 1, 4) == alone[here]
    assert known.message("send", here, 1, 8) == 2 * alone[here]
    assert known.message("send", inside(2), 1, 8) == 4 * alone[inside(2)]
    assert known.message("send", across, 1, 8) == alone[across]
    assert known.uncrowded("send", here, 1, 4) == alone[here] / 2
    assert known.uncrowded("send", across, 1, 8) == alone[across] / 4


def test_replicas_of_a_stage_that_share_a_core_take_twice_as_long_whatever_the_other_host_does():
    """Two hosts of a core each: of two stages only one is at work at a time, and its replicas share a core."""
    measured = machine(flops=1e9, latency=1e-9, link=1e18, cores=1)
    training = replace(TRAINING, global_batch=2)  # of a microbatch each: stages never compute at once
    plan = Plan(data=2, pipeline=2, stages=(1, 1), data_shares=(1, 1), microbatch=1)

    def taken(cores, nodes):
        place = replace(measured, host=replace(measured.host, cores=cores))
        return played(plan, JobPrices(GPT2, training, place, ClusterSpec(ranks=4, nodes=nodes))).step

    each, pooled, own = taken(1, 2), taken(2, 1), taken(2, 2)
    assert pooled.terms.compute == pytest.approx(own.terms.compute), "one stage at a time has both"
    assert each.terms.compute == pytest.approx(2 * own.terms.compute)
    longer = each.seconds - own.seconds - (each.terms.optimizer - own.terms.optimizer)
    assert longer > 1.9 * own.terms.compute, "one stage after the other"

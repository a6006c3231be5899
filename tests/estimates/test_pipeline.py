"""Transfers by the domains that their ends stand in, and bubbles beside those of the schedules as they are played."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.estimates.collectives import Network
from plait.estimates.pipeline import Work, bubble, crosses, crossings, transfers
from plait.schedules.action import Action, Kind
from plait.schedules.registry import build_schedule
from plait.schedules.timeline import simulate
from plait.specs.machines import Machines
from tests.estimates.arranged import arranged, machines, task

HOSTS = machines("l40s", nodes=2, each=4)


@given(st.integers(1, 16), st.integers(1, 20), st.integers(1, 12))
def test_a_boundary_crosses_where_some_rank_sends_to_another_domain(domain: int, each: int, pipeline: int) -> None:
    apart = [
        any((place * each + one) // domain != ((place + 1) * each + one) // domain for one in range(each))
        for place in range(pipeline - 1)
    ]
    assert [bool(crosses(domain, each, place, place + 1)) for place in range(pipeline - 1)] == apart
    assert [bool(crosses(domain, each, place + 1, place)) for place in range(pipeline - 1)] == apart
    assert crossings(domain, np.array([each]), np.array([pipeline]))[0] == sum(apart)


def test_stages_smaller_than_a_host_send_between_hosts_where_theirs_ends() -> None:
    """Ranks 0 to 7 on hosts of four, two a stage: 0 and 1 to 2 and 3, which send to 4 and 5 on the other host."""
    one = task(machines=HOSTS)
    found = transfers(one, arranged(data=2, pipeline=4), Network(machines=HOSTS))
    near, far = found.near[0], found.far[0]
    assert far > 1.5 * near
    assert found.waited[0] == pytest.approx(near + far)
    assert found.filling[0] == pytest.approx(2 * (near + far + near))
    inside = transfers(one, arranged(data=1, pipeline=4), Network(machines=replace(HOSTS, nodes=1)))
    assert inside.waited[0] == pytest.approx(2 * inside.near[0])


def test_stages_of_whole_hosts_send_between_hosts_always() -> None:
    found = transfers(task(machines=HOSTS), arranged(data=4, pipeline=2), Network(machines=HOSTS))
    assert found.waited[0] == pytest.approx(2 * found.far[0])
    assert found.filling[0] == pytest.approx(2 * found.far[0])


@pytest.mark.parametrize(("found", "ranks", "sharing"), [(HOSTS, 1, 1), (HOSTS, 2, 2), (HOSTS, 8, 4),
                                                        (machines(), 2, 8), (machines(), 16, 8)])  # fmt: skip
def test_who_sends_between_hosts_shares_their_cards(found: Machines, ranks: int, sharing: int) -> None:
    seconds = Network(machines=found).send_across(np.array([1e9]), np.array([ranks]))[0]
    link = found.between
    assert seconds == pytest.approx(link.alpha1 + 1e9 * sharing / link.bytes_per_second)


def waited(kind: str, p: int, m: int, work: dict[Kind, float], head: float) -> float:
    """Of a played step the seconds beyond the slowest rank's work: the last stage's, which has a head besides."""
    stages = 2 if kind == "zb-v" else 1
    schedule = build_schedule(kind, p, m, stages)
    last = len(schedule.stage_rank) - 1

    def seconds(action: Action) -> float:
        more = {Kind.F: head / 3, Kind.I: head / 1.5}.get(action.kind, 0.0) * (action.stage == last)
        return work[action.kind] / stages + more

    return simulate(schedule, seconds, lambda _: 0.0).step_seconds - m * (sum(work.values()) + head)


@settings(max_examples=150)
@given(
    st.sampled_from(["zb-h1", "zb-v"]), st.sampled_from([2, 3, 4, 8]), st.integers(1, 24), st.floats(0.22, 0.35),
    st.floats(0.18, 0.33), st.floats(0, 0.1),
)  # fmt: skip
def test_zero_bubble_is_as_when_it_is_played(kind: str, p: int, m: int, forward: float, weights: float, head: float):
    work = {Kind.F: forward, Kind.I: 1 - forward - weights, Kind.W: weights}
    plan = arranged(pipeline=p, schedule=kind, virtual_stages=2 if kind == "zb-v" else 1)
    one = np.ones(1)
    mean = Work(seconds=one * (1 + head / p), forward=one * (forward + head / p / 3), weights=one * weights)
    found = bubble(plan, np.array([m]), mean, one * (1 + head))[0]
    assert m + found == pytest.approx(m + waited(kind, p, m, work, head), rel=0.15)


def test_backward_in_two_parts_fills_less_where_the_second_is_small() -> None:
    one, plans = np.ones(1), arranged(pipeline=8, schedule="zb-v", virtual_stages=2)
    thirds, full = (
        bubble(plans, np.array([32]), Work(seconds=one, forward=one * part, weights=one * part), one)[0]
        for part in (1 / 3, 1 / 4)
    )
    assert thirds < 0.05 * 32
    assert full > 0.4 * 32

"""Messages by level: the formulas of rings, and what hosts change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from plait.estimates.collectives import Network
from plait.specs.connections import INSIDE
from tests.estimates.arranged import machines

ONE = np.array([1])


def ranks(*counts: int) -> np.ndarray:
    return np.array(counts, dtype=np.int64)


@pytest.mark.parametrize(("count", "alpha", "rate"), [(2, 46e-6, 193e9), (4, 54e-6, 218e9), (8, 79e-6, 227e9)])
def test_all_reduce_on_nvlink_is_what_nccl_was_measured_to_take(count: int, alpha: float, rate: float) -> None:
    """vTrain (MICRO 2024): t = α + 2 (n-1) / n · S / B between A100s, within 1.8 % of its measured times."""
    found = Network(machines=machines(nodes=1)).all_reduce(np.array([2.0**28]), ranks(count), ONE)
    assert found[0] == pytest.approx(alpha + 2 * (count - 1) / count * 2**28 / rate, rel=0.03)


def test_without_a_switch_two_devices_have_their_own_link_alone() -> None:
    """MI300X: 64 GB/s of 448, so that a message to the next stage, and a sum of two, take seven times as long."""
    fabric = INSIDE["infinity-fabric"]
    joined, switched = (
        Network(machines=replace(machines(nodes=1), inside=link)) for link in (fabric, replace(fabric, direct=None))
    )
    size = np.array([2.0**30])
    for spoken, links in ((lambda on: on.send(size), 1), (lambda on: on.all_reduce(size, ranks(2), ONE), 1),
                          (lambda on: on.all_reduce(size, ranks(4), ONE), 3),
                          (lambda on: on.all_reduce(size, ranks(8), ONE), 7),
                          (lambda on: on.dispatch(size, 2, ranks(4), ONE), 3)):  # fmt: skip
        assert spoken(joined)[0] / spoken(switched)[0] == pytest.approx(7 / links, rel=0.02)


def test_a_group_of_one_says_nothing() -> None:
    network = Network(machines=machines())
    size = np.array([1e9])
    assert network.all_reduce(size, ranks(1), ONE)[0] == 0
    assert network.reduce_scatter(size, ranks(1), ONE)[0] == 0
    assert network.dispatch(size, 8, ranks(1), ONE)[0] == 0


def test_what_leaves_the_host_is_what_one_of_its_devices_has_left_of_the_sum() -> None:
    network = Network(machines=machines(nodes=4))
    size = np.array([8e9])
    inside = network.reduce_scatter(size, ranks(8), ONE)[0]
    across = network.reduce_scatter(size, ranks(32), ONE)[0]
    card = machines().between.bytes_per_second / 8
    assert across - inside == pytest.approx(3 / 4 * 1e9 / card, rel=0.01)


def test_a_group_that_steps_over_hosts_has_nobody_near() -> None:
    network = Network(machines=machines(nodes=4))
    size = np.array([1e9])
    assert network.all_reduce(size, ranks(4), ranks(8))[0] > 5 * network.all_reduce(size, ranks(4), ONE)[0]


def test_a_row_travels_to_a_domain_once_whoever_wants_it_there() -> None:
    network = Network(machines=machines(nodes=4))
    one = network.dispatch(np.array([1e9]), 1, ranks(32), ONE)[0]
    eight = network.dispatch(np.array([1e9]), 8, ranks(32), ONE)[0]
    assert one < eight < 4.1 * one  # of four domains, not eight copies

"""Messages cost what was measured of their link, and the formula elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.errors import UnusableInput
from plait.planner.communication_cost import CommunicationCost
from plait.specs.links import Link, Overlap, Transfer
from tests.planner.machines import machine

LINK = Link(backend="gloo", kind="all_reduce", ranks=2, alpha0=1e-3, alpha1=1e-4, bytes_per_second=1e9)
TRANSFERS = (Transfer(bytes=100, seconds=1e-3), Transfer(bytes=10_000, seconds=4e-3))


def cost(*links: Link, **changes: object) -> CommunicationCost:
    return CommunicationCost(replace(machine(cores=2), collectives=links, **changes))


def test_one_rank_says_nothing():
    assert cost(LINK).seconds("all_reduce", 1, 10**6) == 0.0
    assert cost().seconds("all_reduce", 1, 10**6) == 0.0


def test_the_formula_of_the_link():
    # 2 steps, the whole payload on the wire
    assert cost(LINK).seconds("all_reduce", 2, 10**6) == pytest.approx(1e-3 + 2e-4 + 1e-3)


def test_measured_sizes_are_kept_and_interpolated():
    known = cost(replace(LINK, transfers=TRANSFERS))
    assert known.seconds("all_reduce", 2, 100) == pytest.approx(1e-3)
    assert known.seconds("all_reduce", 2, 1000) == pytest.approx(2e-3)  # half way in logarithms
    assert known.seconds("all_reduce", 2, 1) == pytest.approx(1e-3)  # latency alone
    assert known.seconds("all_reduce", 2, 10_000 + 10**9) == pytest.approx(4e-3 + 1.0)  # and beyond, bandwidth


def test_another_number_of_ranks_has_its_own_steps_and_wire():
    # 4 ranks: 6 steps, 6/4 of the payload
    known = cost(replace(LINK, transfers=TRANSFERS))
    assert known.seconds("all_reduce", 4, 10**6) == pytest.approx(1e-3 + 6e-4 + 1.5e-3)
    assert known.measured("all_reduce", 2)
    assert not known.measured("all_reduce", 4)


def test_the_nearest_group_speaks_for_others():
    slow = replace(LINK, ranks=8, alpha0=1.0)
    assert cost(LINK, slow).seconds("all_reduce", 6, 1) > 1.0
    assert cost(LINK, slow).seconds("all_reduce", 3, 1) < 1.0


def test_another_kind_is_told_by_the_formula():
    assert cost(LINK).seconds("send", 2, 10**6) == pytest.approx(1e-3 + 1e-4 + 1e-3)


def test_the_backend_is_the_device_s():
    other = replace(LINK, backend="nccl", alpha0=5.0)
    assert cost(other, LINK).seconds("all_reduce", 2, 1) < 1.0
    assert cost(other).seconds("all_reduce", 2, 1) > 1.0  # better than nothing


def test_no_links_is_an_error_with_a_remedy():
    with pytest.raises(UnusableInput, match="run `plait profile`"):
        cost().seconds("all_reduce", 2, 8)


def test_what_compute_does_not_hide():
    assert cost(LINK).exposed_share(2, cores=None, at_work=2) == 0.0
    assert cost(LINK).exposed_share(2, cores=4, at_work=2) == 0.0
    assert cost(LINK).exposed_share(2, cores=2, at_work=2) == 1.0
    measured = (Overlap(backend="gloo", ranks=2, exposed=0.7), Overlap(backend="gloo", ranks=8, exposed=0.9))
    assert cost(LINK, overlap=measured).exposed_share(2, cores=4, at_work=2) == 0.7
    assert cost(LINK, overlap=measured).exposed_share(6, cores=4, at_work=2) == 0.9


def test_the_error_is_the_worst_link_s_and_never_none():
    assert cost(LINK).error() == 0.05
    assert cost(LINK, replace(LINK, ranks=4, error=0.3)).error() == 0.3


def test_links_between_hosts_speak_for_groups_on_several_and_for_no_others():
    slow = replace(LINK, hosts=2, alpha0=1.0)
    slower = replace(LINK, hosts=2, ranks=4, alpha0=3.0)
    known = cost(LINK, slow, slower, overlap=(Overlap(backend="gloo", ranks=2, hosts=2, exposed=0.1),))
    assert known.seconds("all_reduce", 2, 1) < 1.0 < known.seconds("all_reduce", 2, 1, hosts=2) < 2.0
    assert known.seconds("all_reduce", 4, 1) < 1.0
    assert known.seconds("all_reduce", 4, 1, hosts=2) > 3.0
    assert known.measured("all_reduce", 4, hosts=2)
    assert not known.measured("all_reduce", 4)
    assert not known.measured("all_reduce", 2, hosts=3)
    assert known.exposed_share(2, cores=2, at_work=2, hosts=2) == 0.1
    assert known.exposed_share(2, cores=2, at_work=2) == 1.0, "nothing was measured inside of a host"


def test_without_links_between_hosts_those_inside_speak():
    assert cost(LINK).seconds("all_reduce", 4, 8, hosts=2) == cost(LINK).seconds("all_reduce", 4, 8)

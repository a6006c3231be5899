"""Messages cost what was measured of their link, and the formula elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.errors import UnusableInput
from plait.planner.communication_cost import CommunicationCost
from plait.planner.spread import Spread, inside
from plait.sharding.all_reduce import RING_GATHER_BYTES, STEP_SECONDS, seconds_of_all_reduce, shared
from plait.specs.catalogue import ASSUMED, speed_between
from plait.specs.links import Link, LinkKind, LinkSpeed, Overlap, Transfer
from tests.planner.machines import machine

LINK = Link(backend="gloo", kind="all_reduce", ranks=2, alpha0=1e-3, alpha1=1e-4, bytes_per_second=1e9)
TRANSFERS = (Transfer(bytes=100, seconds=1e-3), Transfer(bytes=10_000, seconds=4e-3))


def cost(*links: Link, **changes: object) -> CommunicationCost:
    return CommunicationCost(replace(machine(cores=2), collectives=links, **changes))


def test_one_rank_says_nothing():
    assert cost(LINK).seconds("all_reduce", inside(1), 10**6) == 0.0
    assert cost().seconds("all_reduce", inside(1), 10**6) == 0.0


def test_the_formula_of_the_link():
    # 2 steps, the whole payload on the wire
    assert cost(LINK).seconds("all_reduce", inside(2), 10**6) == pytest.approx(1e-3 + 2e-4 + 1e-3)


def test_measured_sizes_are_kept_and_interpolated():
    known = cost(replace(LINK, transfers=TRANSFERS))
    assert known.seconds("all_reduce", inside(2), 100) == pytest.approx(1e-3)
    assert known.seconds("all_reduce", inside(2), 1000) == pytest.approx(2e-3)  # half way in logarithms
    assert known.seconds("all_reduce", inside(2), 1) == pytest.approx(1e-3)  # latency alone
    assert known.seconds("all_reduce", inside(2), 10_000 + 10**9) == pytest.approx(4e-3 + 1.0)  # and beyond, bandwidth


def test_another_number_of_ranks_has_its_own_steps_and_wire():
    # 4 ranks: 6 steps, 6/4 of the payload
    known = cost(replace(LINK, transfers=TRANSFERS))
    assert known.seconds("all_reduce", inside(4), 10**6) == pytest.approx(1e-3 + 6e-4 + 1.5e-3)
    assert known.measured("all_reduce", 2)
    assert not known.measured("all_reduce", 4)


def test_the_nearest_group_speaks_for_others():
    slow = replace(LINK, ranks=8, alpha0=1.0)
    assert cost(LINK, slow).seconds("all_reduce", inside(6), 1) > 1.0
    assert cost(LINK, slow).seconds("all_reduce", inside(3), 1) < 1.0


def test_another_kind_is_told_by_the_formula():
    assert cost(LINK).seconds("send", inside(2), 10**6) == pytest.approx(1e-3 + 1e-4 + 1e-3)


def test_the_backend_is_the_device_s():
    other = replace(LINK, backend="nccl", alpha0=5.0)
    assert cost(other, LINK).seconds("all_reduce", inside(2), 1) < 1.0
    assert cost(other).seconds("all_reduce", inside(2), 1) > 1.0  # better than nothing


def test_no_links_is_an_error_with_a_remedy():
    with pytest.raises(UnusableInput, match="run `plait profile`"):
        cost().seconds("all_reduce", inside(2), 8)


def test_what_compute_does_not_hide():
    assert cost(LINK).exposed_share(inside(2), cores=None, at_work=2) == 0.0
    assert cost(LINK).exposed_share(inside(2), cores=4, at_work=2) == 0.0
    assert cost(LINK).exposed_share(inside(2), cores=2, at_work=2) == 1.0
    measured = (Overlap(backend="gloo", ranks=2, exposed=0.7), Overlap(backend="gloo", ranks=8, exposed=0.9))
    assert cost(LINK, overlap=measured).exposed_share(inside(2), cores=4, at_work=2) == 0.7
    assert cost(LINK, overlap=measured).exposed_share(inside(6), cores=4, at_work=2) == 0.9


def test_the_error_is_the_worst_link_s_and_never_none():
    assert cost(LINK).error == 0.05
    assert cost(LINK, replace(LINK, ranks=4, error=0.3)).error == 0.3


SLOW = speed_between("ethernet-200mbit")
ALONE, PAIRS = Spread(hosts=(1, 1)), Spread(hosts=(2, 2))  # two hosts, of one rank and of two
IN_MEMORY = tuple(
    Link(backend="shared-memory", kind=kind, ranks=2, alpha0=0.5, alpha1=0.0, bytes_per_second=1e12)
    for kind in ("reduce_scatter", "all_gather")
)


def declared(*links: Link, link: str | None = "ethernet-200mbit") -> CommunicationCost:
    return CommunicationCost(replace(machine(cores=2), collectives=links), link)


def test_between_hosts_the_declared_link_is_priced_with_what_the_wire_performs_there():
    size = 10**7
    known = declared(LINK)
    assert known.seconds("all_reduce", ALONE, size) == seconds_of_all_reduce("gloo", size, 2, SLOW)
    assert known.seconds("all_reduce_in_place", ALONE, size) == known.seconds("all_reduce", ALONE, size)
    half = size / 2 / SLOW.bytes_per_second
    for kind in ("all_gather", "reduce_scatter"):
        assert known.seconds(kind, ALONE, size) == pytest.approx(SLOW.alpha + STEP_SECONDS + half)
        assert known.algorithm(kind, ALONE, size) == "ring"
    few = RING_GATHER_BYTES
    assert known.algorithm("all_gather", ALONE, few) == "gloo"
    assert known.seconds("all_gather", ALONE, few) == pytest.approx(SLOW.alpha + few / 2 / SLOW.bytes_per_second)
    assert known.seconds("send", ALONE, size) == pytest.approx(SLOW.alpha + 2 * half)


def test_several_groups_share_a_host_s_link():
    known = declared(LINK)
    two = replace(ALONE, groups=2)
    for kind in ("all_reduce", "all_gather", "reduce_scatter", "send"):
        assert known.seconds(kind, two, 10**8) == pytest.approx(2 * known.seconds(kind, ALONE, 10**8), rel=1e-3)


def test_two_levels_are_shared_memory_inside_and_slices_across():
    known = declared(*IN_MEMORY)
    small = 1000
    across = seconds_of_all_reduce("doubling", small / 2, 2, shared(SLOW, 2))
    assert known.seconds("all_reduce", PAIRS, small) == pytest.approx(1.0 + across)  # one piece: one after the other
    large = 10 * (1 << 22)  # ten pieces: they overlap, but for one
    across = 10 * seconds_of_all_reduce("doubling", (1 << 22) / 2, 2, shared(SLOW, 2))
    assert known.seconds("all_reduce", PAIRS, large) == pytest.approx(across + 1.0 / 10, rel=1e-3)


def test_halves_in_two_levels_are_one_inside_and_slices_around_a_ring():
    known, size = declared(*IN_MEMORY), 10**7
    link = shared(SLOW, 2)
    across = SLOW.alpha + STEP_SECONDS + size / 2 / 2 / link.bytes_per_second
    for kind in ("reduce_scatter", "all_gather"):
        assert known.seconds(kind, PAIRS, size) == pytest.approx(0.5 + across, rel=1e-4)
        assert known.algorithm(kind, PAIRS, size) == "two levels, ring across"
        assert known.seconds(kind, replace(PAIRS, groups=3), size) == pytest.approx(0.5 + 3 * across, rel=1e-2)


def test_compressed_in_two_levels_is_both_halves_inside_and_what_crosses():
    known, size, packed = declared(*IN_MEMORY), 10**7, 10**7  # two hosts' payloads, a half of the size each
    across = SLOW.alpha + STEP_SECONDS + packed / 2 / SLOW.bytes_per_second
    assert known.packed_seconds(PAIRS, size, [("all_gather", packed)]) == pytest.approx(1.0 + across, rel=1e-4)
    dense = known.seconds("all_reduce", PAIRS, size)
    assert across < 0.51 * (dense - 1.0 / 3)  # of three pieces; half as many bytes leave a host


def test_ranks_that_share_no_memory_stand_as_if_alone():
    known, size = declared(LINK), 10**7
    alone = Spread(hosts=(1, 1, 1, 1))
    assert known.levels(PAIRS) == ()
    assert declared(*IN_MEMORY).levels(PAIRS) == (2, 2)
    for kind in ("all_reduce", "reduce_scatter", "all_gather"):
        assert known.seconds(kind, PAIRS, size) == known.seconds(kind, alone, size)
        assert known.algorithm(kind, PAIRS, size) == known.algorithm(kind, alone, size)


def test_in_an_all_to_all_each_rank_of_a_host_sends_its_own_out_of_it():
    cards = replace(machine(cores=None), collectives=(replace(LINK, backend="nccl"),))
    known, size = CommunicationCost(cards, "ethernet-200mbit"), 10**8
    assert known.all_to_all_seconds(ALONE, size) == known.seconds("all_gather", ALONE, size)
    assert known.all_to_all_seconds(inside(2), size) == known.seconds("all_gather", inside(2), size)
    eight = Spread(hosts=(4, 4))
    leaving = 4 * 4 / 8 * size  # of each host; around a ring 7/8 of it would
    assert known.all_to_all_seconds(eight, size) == pytest.approx(leaving / SLOW.bytes_per_second, rel=1e-3)
    assert known.seconds("all_gather", eight, size) == pytest.approx(7 / 8 * size / SLOW.bytes_per_second, rel=1e-3)


def test_what_a_shaped_link_lets_pass_after_a_pause_takes_no_time_of_its_bandwidth():
    pair, second = Spread(hosts=(1, 1)), 1_000_000  # bytes
    send = replace(LINK, kind="send", hosts=2, alpha0=1e-3, alpha1=0.0, bytes_per_second=1e6, backend="gloo", ranks=2)
    shaped = cost(replace(send, burst=250_000.0))
    plain = cost(send)
    whole = plain.seconds("send", pair, second)
    assert shaped.seconds("send", pair, second) == whole
    assert shaped.seconds("send", pair, second, pause=9.0) == pytest.approx(whole - 0.25)
    assert shaped.seconds("send", pair, second, pause=0.1) == pytest.approx(whole - 0.1)
    assert shaped.seconds("send", pair, 10_000, pause=9.0) == pytest.approx(1e-3, rel=2e-3), "all of it passes"
    assert plain.seconds("send", pair, second, pause=9.0) == whole


def test_a_measured_link_between_hosts_speaks_for_it():
    measured = replace(LINK, ranks=4, hosts=2, backend="hierarchical", alpha0=0.25, alpha1=0.0)
    send = replace(LINK, kind="send", hosts=2, alpha0=1e-3, alpha1=0.0, bytes_per_second=1e6)
    known = declared(*IN_MEMORY, measured, send, link=None)
    assert known.seconds("all_reduce", PAIRS, 10**6) == pytest.approx(0.25 + 1.5e-3)
    assert (known.between.alpha, known.between.bytes_per_second, known.source) == (1e-3, 1e6, "measured")
    assert declared(measured, send).seconds("all_reduce", ALONE, 10**6) < 0.1  # what is declared goes before


def test_what_nobody_knows_is_assumed():
    known = declared(LINK, link=None)
    assert known.source == "assumed"
    assert known.between == speed_between(ASSUMED)
    assert declared(LINK).source == "declared"


@pytest.mark.parametrize("link", ["ethernet-200mbit", None], ids=["declared", "assumed"])
def test_links_twice_as_fast_take_half_as_long_inside_hosts_and_between_them(link):
    half = replace(machine(cores=2), collectives=IN_MEMORY)
    slow, fast = (CommunicationCost(half, link, faster) for faster in (1.0, 2.0))
    assert fast.between == LinkSpeed(alpha=slow.between.alpha / 2, bytes_per_second=2 * slow.between.bytes_per_second)
    assert fast.source == slow.source
    for kind, spread in (("send", ALONE), ("all_gather", inside(2))):
        assert fast.seconds(kind, spread, 10**6) == pytest.approx(slow.seconds(kind, spread, 10**6) / 2)


def test_a_measured_link_twice_as_fast_loses_a_processor_as_much():
    points = tuple(Transfer(bytes=size, seconds=2e-3 + size / 1e6) for size in (10**3, 10**6))
    send = replace(LINK, kind="send", hosts=2, alpha0=1e-3, alpha1=1e-3, bytes_per_second=1e6, transfers=points)
    known = send.times_as_fast(2.0)
    assert known.seconds(10**6) == send.seconds(10**6) / 2
    assert [one.seconds for one in known.transfers] == [one.seconds / 2 for one in points]
    shaped = replace(send, burst=1e5, overhead=3e-4).times_as_fast(2.0)
    assert (shaped.burst, shaped.overhead) == (1e5, 3e-4)


def test_a_network_moves_bytes_behind_compute():
    assert declared(LINK).exposed_share(ALONE, cores=2, at_work=2) == 0.0


def test_what_was_measured_behind_a_network_is_taken():
    overlap = (Overlap(backend="gloo", ranks=2, hosts=2, exposed=0.1),)
    known = CommunicationCost(replace(machine(cores=2), collectives=(LINK,), overlap=overlap))
    assert known.exposed_share(ALONE, cores=2, at_work=2) == 0.1
    assert known.exposed_share(inside(2), cores=2, at_work=2) == 1.0, "nothing was measured inside of a host"


def test_a_message_between_hosts_takes_something_from_who_computes():
    links = tuple(
        replace(LINK, kind=kind, ranks=ranks, hosts=2, overhead=seconds)
        for kind, ranks, seconds in (("all_reduce", 2, 1e-3), ("send", 2, 2e-4), ("send", 4, 7e-4))
    )
    plain = tuple(replace(one, backend="gloo") for one in links if one.ranks == 2)
    known = CommunicationCost(replace(machine(cores=2), collectives=(LINK, *plain)))

    def overhead(cost: CommunicationCost, kind: LinkKind, spread: Spread) -> float | None:
        link = cost.nearest_between(kind, spread)
        return link and link.overhead

    assert overhead(known, "all_reduce", ALONE) == 1e-3
    assert overhead(known, "send", ALONE) == 2e-4
    assert overhead(known, "all_gather", ALONE) is None, "not measured"
    assert overhead(known, "send", inside(2)) is None, "nothing crosses"
    shared = tuple(replace(one, backend="hierarchical") for one in links if one.ranks == 4)
    four = CommunicationCost(replace(machine(cores=2), collectives=(LINK, *plain, *shared)))
    assert overhead(four, "send", Spread(hosts=(2, 2))) == 7e-4
    assert overhead(four, "send", ALONE) == 2e-4
    # four on hosts of their own are more like two such than like two on each host
    assert overhead(four, "send", Spread(hosts=(1,) * 4)) == 2e-4
    assert overhead(declared(LINK), "send", ALONE) is None

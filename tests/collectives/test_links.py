"""Links between real ranks: every kind, positive numbers, the right contents, and the wait for the last one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from math import inf
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist

from plait.collectives import links
from plait.collectives.functional import buffer
from plait.collectives.links import _KINDS, LinkReport, measure_links
from plait.collectives.process_groups import Group, join
from plait.devices.device import rank_device
from plait.specs.links import LinkKind
from tests.devices.grids import TINY

RunOnRanks = Callable[..., list[Any]]


@pytest.mark.parametrize("ranks", [2, 3])
def test_every_kind_is_measured(run_on_ranks: RunOnRanks, ranks: int):
    report, *_ = run_on_ranks(ranks, measure_links, TINY, tuple(range(ranks)))
    assert isinstance(report, LinkReport)
    assert [link.kind for link in report.links] == list(_KINDS)
    for link in report.links:
        assert (link.backend, link.ranks) == ("shared-memory", ranks)
        assert link.alpha0 >= 0
        assert link.alpha1 >= 0
        assert 1e5 < link.bytes_per_second < inf  # a line through two short timings can be flat, or begin at 0
        assert all(1e-7 < point.seconds < 10 and link.seconds(point.bytes) > 1e-8 for point in link.transfers)
        assert [point.bytes for point in link.transfers] == [size // 4 // ranks * ranks * 4 for size in TINY.payloads]
    assert report.overlap.exposed >= 0


def test_ranks_beyond_those_asked_for_wait(run_on_ranks: RunOnRanks):
    reports = run_on_ranks(3, measure_links, TINY, (0, 1))
    assert [report is None for report in reports] == [False, False, True]


def world() -> Group:
    group = join("data", tuple(range(dist.get_world_size())))
    assert group is not None
    return group


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_calls_move_what_their_names_say(run_on_ranks: RunOnRanks, ranks: int):
    assert run_on_ranks(ranks, contents_are_right) == [True] * ranks


def contents_are_right() -> bool:
    """On a rank: each call, on a tensor that says who sent it."""
    group, rank, ranks = world(), dist.get_rank(), dist.get_world_size()
    wire, total = group.wire, float(ranks * (ranks + 1) // 2)
    own = torch.full((ranks,), float(rank + 1))

    summed, held = own.clone(), buffer(ranks, own.dtype, own.device, group)
    held.own.copy_(own)
    links._all_reduce(summed, wire)
    links._all_reduce_in_place(held, wire)
    part = links._reduce_scatter(list(own.chunk(ranks)), wire)
    whole = links._all_gather(list(own.chunk(ranks)), wire)

    pair = links._partner(group, 1)
    sent, received = own.clone(), torch.zeros(ranks)
    links._send(sent, wire, pair, sends=rank % 2 == 0)
    links._exchange(own.clone(), received, wire, pair)
    partner = None if pair is None else float(pair + 1)
    return (
        part.item() == summed[0].item() == held.own[0].item() == total
        and whole.tolist() == [number + 1.0 for number in range(ranks)]
        and sent[0].item() == (rank if rank % 2 else rank + 1)
        and received[0].item() == (partner or 0.0)
    )


def test_the_time_runs_until_the_last_rank_is_done(run_on_ranks: RunOnRanks):
    slow = 0.2  # many times what a busy machine may keep the other rank from starting
    spans = run_on_ranks(2, span_of_a_slow_rank, slow)
    assert min(spans) > slow / 2, spans
    assert max(spans) - min(spans) < 1e-9, "the same numbers on every rank"


def span_of_a_slow_rank(seconds: float) -> float:
    """On a rank: what is measured of a call that takes rank 1 that long, and rank 0 nothing."""

    def call() -> None:
        end = time.perf_counter() + seconds * dist.get_rank()
        while time.perf_counter() < end:
            pass

    return links._timed([call], links._ring(world()), 0.0)[0]


def test_the_last_of_an_odd_number_of_hosts_has_nobody_to_exchange_with(run_on_ranks: RunOnRanks):
    assert all(found >= 0 for found in run_on_ranks(3, overhead_of_an_exchange))


def overhead_of_an_exchange() -> float:
    """On a rank of three, each as if on a host of its own."""
    with patch("plait.collectives.links._OVERHEAD_ROUNDS", 3):
        return links._overhead("exchange", replace(links._ring(world(), 3), ahead=0.0))


@pytest.mark.clock
def test_of_what_scatters_between_hosts_the_mean_counts(run_on_ranks: RunOnRanks):
    found = run_on_ranks(2, seconds_of_a_call_that_scatters)
    assert found == [pytest.approx([0.01, 0.01, 0.05 / 3], rel=0.3)] * 2


def seconds_of_a_call_that_scatters() -> list[float]:
    """On a rank: of a call that takes 10 ms, and 30 each third time; on one host, between hosts, as what scatters."""
    found: list[float] = []
    for hosts, scatters in ((1, True), (2, False), (2, True)):
        ring, durations = replace(links._ring(world(), hosts), ahead=0.0), cycle((0.01, 0.01, 0.03))

        def call(durations: Iterator[float] = durations) -> None:
            time.sleep(next(durations))

        found += links._timed([call], ring, 0.0, 9, close=True, scatters=scatters)
    return found


@pytest.mark.clock
@pytest.mark.parametrize(("hosts", "least", "most"), [(1, 0.0, 0.0), (2, 0.02, 0.2)])
def test_what_a_message_takes_from_who_computes(run_on_ranks: RunOnRanks, hosts: int, least: float, most: float):
    slow = 0.03  # seconds that starting one takes, in place of sleeping threads that wake for it
    assert all(least <= found <= most for found in run_on_ranks(2, overhead_where_starting_takes, slow, hosts))


def overhead_where_starting_takes(seconds: float, hosts: int) -> float:
    """On a rank."""

    def starts(*_: object) -> Callable[[], Any]:
        def start() -> Any:
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                pass
            return SimpleNamespace(wait=lambda: None)

        return start

    ring = replace(links._ring(world(), hosts), ahead=0.0)  # as the ranks of one host they read one clock
    with patch("plait.collectives.links._starts", starts), patch("plait.collectives.links._OVERHEAD_ROUNDS", 5):
        return links._overhead("exchange", ring)


def test_the_kinds_are_those_of_the_specs():
    from typing import get_args

    assert set(_KINDS) == set(get_args(LinkKind))


@pytest.mark.parametrize("ranks", [2, 3])
def test_each_rank_learns_what_its_clock_is_ahead(run_on_ranks: RunOnRanks, ranks: int):
    assert run_on_ranks(ranks, ahead_of_the_first) == pytest.approx([1000.0 * rank for rank in range(ranks)], abs=0.1)


def ahead_of_the_first() -> float:
    """On a rank: what it is told where each clock is 1000 s ahead of the one before."""
    ahead = 1000.0 * dist.get_rank()
    with patch("plait.collectives.links.time", SimpleNamespace(perf_counter=lambda: time.perf_counter() + ahead)):
        return links._ahead(world(), rank_device())

"""The whole profile on a tiny grid: complete, sane, the contract's document, and told stage by stage."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from plait.collectives.links import measure_links
from plait.devices.benchmark import default_ranks, link_groups, measure_machine, middle, rank_counts
from plait.devices.device import current_device
from plait.specs.measurement_files import document_of, read_measurements, write_measurements
from plait.specs.measurements import Dispatch, Gemm, Measurements
from tests.devices.grids import TINY

RunOnRanks = Callable[..., list[Any]]


@pytest.mark.parametrize(
    ("ranks", "counts"), [(1, ()), (2, (2,)), (3, (2, 3)), (4, (2, 4)), (6, (2, 4, 6)), (8, (2, 4, 8))]
)
def test_links_are_timed_for_powers_of_two_and_for_all(ranks: int, counts: tuple[int, ...]):
    assert rank_counts(ranks) == counts


def test_a_profile_starts_few_ranks():
    assert 1 <= default_ranks() <= 8


def test_a_whole_profile(run_on_ranks: RunOnRanks, tmp_path: Path):
    told: list[str] = []
    measured = measure_machine(partial(run_on_ranks, 2), 2, measure_links, grid=TINY, tell=told.append)
    assert told == ["operations", "ranks at once", "links between 2 ranks"]
    assert {one.dtype for one in measured.gemm} == {"fp32", "bf16"} | (
        set() if current_device().is_accelerator else {"fp64"}
    )
    assert {one.ranks for one in measured.collectives} == {one.ranks for one in measured.overlap} == {2}
    assert measured.host is not None
    assert measured.host.device == current_device().kind
    assert (measured.host.host_memory_bytes > 0) is current_device().is_accelerator
    assert measured.memory_bandwidth > 0
    assert measured.memory_bandwidth_all > 0
    assert measured.attention
    assert measured.memory_bound
    assert measured.optimizer
    assert measured.dispatch.forward > 0
    assert len(measured.speeds) == 2
    assert measured.speeds[0] == 1.0
    assert measured.seconds > 0
    path = tmp_path / "measurements.json"
    write_measurements(measured, path)
    assert read_measurements(path) == measured
    assert json.loads(path.read_text()) == json.loads(json.dumps(document_of(measured)))


def test_of_what_is_measured_several_times_each_number_is_the_median():
    rows = [
        Measurements(
            gemm=(Gemm(m=1, n=2, k=3, dtype="fp32", flops_per_second=rate),),
            memory_bandwidth=rate + 0.5,
            dispatch=Dispatch(plain=1 / rate),
        )
        for rate in (4.0, 1.0, 2.0)
    ]
    (gemm,) = middle(rows).gemm
    assert gemm == replace(rows[0].gemm[0], flops_per_second=2.0)
    assert middle(rows).memory_bandwidth == 2.5
    assert middle(rows).dispatch.plain == 0.5


def test_one_rank_has_no_links(run_on_ranks: RunOnRanks):
    measured = measure_machine(partial(run_on_ranks, 1), 1, measure_links, grid=TINY)
    assert measured.collectives == measured.overlap == measured.speeds == ()
    assert measured.contention.ranks == 1


def test_on_several_hosts_links_inside_of_one_are_timed_and_links_between_them():
    assert link_groups(4) == [((0, 1), 1), ((0, 1, 2, 3), 1)]
    assert link_groups(4, [(0, 1), (2, 3)]) == [((0, 1), 1), ((0, 2), 2), ((0, 1, 2, 3), 2)]
    assert link_groups(2, [(0,), (1,)]) == [((0, 1), 2)]

"""The catalogue's figures have sources, units that can be true, and an order that physics gives them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.specs.catalogue import (
    between_named,
    cards_in,
    device_named,
    device_problem,
    inside_named,
    inter_link_problem,
    intra_link_problem,
    to_host_of,
)
from plait.specs.connections import BETWEEN, INSIDE, TO_HOST
from plait.specs.devices import DEVICES
from plait.specs.machines import usual_between

ASKED = ["v100-16gb", "v100-32gb", "v100-32gb-pcie", "a100-40gb", "a100-80gb", "a100-80gb-pcie", "h100-80gb",
         "h100-80gb-pcie", "h100-96gb", "h200", "b200", "b300", "gb200", "gb300", "mi300x", "gaudi3", "tpu-v5p",
         "rtx-4090", "rtx-5090"]  # fmt: skip
NARROWER = ["fp64", "fp32", "tf32", "bf16", "fp8", "nvfp4"]  # each at least as fast as the one before


def test_what_was_asked_for_is_there():
    assert set(ASKED) <= set(DEVICES)
    assert {"nvlink2", "nvlink3", "nvlink4", "nvlink5", "nvl72", "pcie3", "pcie4", "pcie5", "infinity-fabric"} <= set(
        INSIDE
    )
    assert {"ib-edr", "ib-hdr", "ib-ndr", "ib-xdr", "opa-100", "ethernet-10gbit", "roce-400gbit"} <= set(BETWEEN)


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_has_a_source_and_plausible_units(name):
    device = DEVICES[name]
    assert device.name == name
    assert len(device.source) > 10
    assert 15 * 2**30 < device.memory_bytes < 300 * 2**30
    assert 0.5e12 < device.memory_bandwidth < 10e12
    assert min(device.peaks.values()) > 1e12 or device.peaks.keys() & {"fp64"}
    assert max(device.peaks.values()) < 20e15
    assert 2 <= device.units <= 400
    assert 2**22 <= device.cache_bytes <= 2**29
    assert device.power_watts is None or 200 <= device.power_watts <= 1500
    assert device.peak("int3") is None


@pytest.mark.parametrize("name", DEVICES)
def test_narrower_is_not_slower(name):
    peaks = DEVICES[name].peaks
    rates = [peaks[dtype] for dtype in NARROWER if dtype in peaks]
    assert rates == sorted(rates)
    assert peaks.get("fp16", 0) in (0, peaks.get("bf16", peaks.get("fp16")))
    assert peaks.get("mxfp8", 0) in (0, peaks.get("fp8"))


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_s_usual_links_are_in_the_catalogue(name):
    device = DEVICES[name]
    assert inside_named(device.inside) is not None
    assert between_named(device.between) is not None
    for each in (1, 4, 8, 16):
        assert between_named(usual_between(device, each)) is not None


@pytest.mark.parametrize("link", [*INSIDE.values(), *BETWEEN.values()], ids=lambda link: link.name)
def test_a_link_has_a_source_and_plausible_units(link):
    assert len(link.source) >= 10
    assert 0 < link.reached < 1
    assert 0 <= link.alpha0 < 1e-3
    assert 0 < link.alpha1 < 1e-3
    assert 5e6 < link.peak < 2e12
    assert link.place == ("inside" if link.name in INSIDE else "between")
    assert all(0 < part < 1 and size > 1 for size, part in link.reached_by)
    assert link.speed.bytes_per_second == link.bytes_per_second <= link.peak


def test_generations_double_and_a_host_s_link_is_faster_than_between():
    rates = [BETWEEN[f"ib-{name}"].peak for name in ("edr", "hdr", "ndr", "xdr")]
    assert rates == [12.5e9, 25e9, 50e9, 100e9]
    assert [INSIDE[f"nvlink{n}"].peak / 1e9 for n in (2, 3, 4, 5)] == [150, 300, 450, 900]


@pytest.mark.parametrize("link", TO_HOST.values(), ids=lambda link: link.name)
def test_a_link_to_a_host_s_memory_has_a_source_and_plausible_units(link):
    assert len(link.source) >= 10
    assert 0.5 < link.reached < 1
    assert link.bytes_per_second == link.peak * link.reached < 450e9


def test_a_device_reaches_its_host_by_a_link_of_its_generation():
    rates = [TO_HOST[name].peak for name in ("pcie3", "pcie4", "pcie5")]
    assert rates == [INSIDE[name].peak for name in ("pcie3", "pcie4", "pcie5")]  # the same slot
    used = {name: to_host_of(device) for name, device in DEVICES.items()}
    assert {name for name, link in used.items() if link is None} == {"tpu-v5p"}
    assert all(used[name].name == device.inside[:5] for name, device in DEVICES.items() if "pcie" in device.inside)
    assert {name for name, device in DEVICES.items() if device.host_memory_bytes} == {"gb200", "gb300"}


def test_nvlink3_is_what_was_measured():
    """vTrain's NCCL times: 193, 218 and 227 GB/s of 300 among 2, 4 and 8 ranks."""
    link = INSIDE["nvlink3"]
    assert [round(link.among(ranks) / 1e9) for ranks in (2, 4, 8)] == [193, 218, 227]
    assert link.among(3) == link.among(4)
    assert link.among(16) == link.bytes_per_second
    assert (link.alpha0, link.alpha1) == (39e-6, 2.8e-6)
    assert "vTrain" in link.measured


@pytest.mark.parametrize(
    ("name", "links"),
    [
        # gigabytes a second that are printed on what a device of a group of 2, 3, 4, 8 has to the others of it
        ("infinity-fabric", (64, 128, 192, 448)),
        ("gaudi3-ports", (75, 150, 225, 525)),
        ("nvlink2", (25, 25, 100, 150)),
        ("ici-v5p", (100, 100, 200, 300)),
        ("nvlink2-switch", (150, 150, 150, 150)),
        ("nvlink4", (450, 450, 450, 450)),
    ],
)
def test_without_a_switch_a_group_has_the_links_between_its_own(name, links):
    link = INSIDE[name]
    assert [link.among(ranks) / link.reached / 1e9 for ranks in (2, 3, 4, 8)] == pytest.approx(links)


@pytest.mark.parametrize("link", [link for link in INSIDE.values() if link.direct], ids=lambda link: link.name)
def test_direct_links_begin_with_pairs_and_end_with_all(link):
    sizes, links = zip(*link.direct.within, strict=True)
    assert (sizes[0], links[-1]) == (2, link.direct.count)
    assert sorted(sizes) == list(sizes)
    assert sorted(links) == list(links)
    assert link.among(1) == link.among(2) < link.among(sizes[-1]) == link.among(10**6) == link.bytes_per_second


def test_of_an_mi300x_a_pair_reaches_what_one_link_was_measured_to():
    """About 48 GB/s a link (AMD, 2025), and rather less where it is summed."""
    assert 43e9 < INSIDE["infinity-fabric"].among(2) < 48e9


@given(st.sampled_from(sorted(BETWEEN)), st.integers(1, 9999))
def test_cards_multiply(name, cards):
    link, one = between_named(f"{name}-x{cards}"), BETWEEN[name]
    assert link is not None
    assert link.bytes_per_second == pytest.approx(cards * one.bytes_per_second)
    assert link.name == f"{name}-x{cards}"
    assert cards_in(link.name) == (name, cards)


@pytest.mark.parametrize(
    ("problem", "name", "near"),
    [
        (device_problem, "A100 80GB", "a100-80gb"),
        (device_problem, "h100", "h100-80gb"),
        (device_problem, "rtx4090", "rtx-4090"),
        (intra_link_problem, "nvlink-3", "nvlink3"),
        (intra_link_problem, "ib-hdr", "joins hosts"),
        (inter_link_problem, "ib-hdr-x0", "ib-hdr"),
        (inter_link_problem, "ib_hdr-x8", "ib-hdr"),
        (inter_link_problem, "nvlink3", "one host"),
    ],
)
def test_a_name_that_is_none_gets_the_nearest(problem, name, near):
    found = problem("cluster.key", name)
    assert found is not None
    assert near in found.message
    assert set(found.legal) <= {*DEVICES, *INSIDE, *BETWEEN}


@given(st.text(max_size=30))
def test_any_text_is_judged(name):
    assert (device_problem("k", name) is None) == (device_named(name) is not None)
    assert (inter_link_problem("k", name) is None) == (between_named(name) is not None)
    assert (intra_link_problem("k", name) is None) == (inside_named(name) is not None)

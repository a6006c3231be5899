"""The fit finds what was planted, bears noise, and never answers with a negative or endless number."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.devices.link_fit import Sample, fit_link, fit_samples
from plait.specs.links import Link, LinkKind, Transfer

PAYLOADS = [2**exponent for exponent in range(10, 25, 2)]

kinds = st.sampled_from(["all_reduce", "reduce_scatter", "all_gather", "send", "exchange"])
ring_kinds = st.sampled_from(["all_reduce", "reduce_scatter", "all_gather"])
latencies = st.floats(1e-6, 1e-2)
bandwidths = st.floats(1e8, 1e12)


def planted(kind: LinkKind, ranks: int, alpha0: float, alpha1: float, bandwidth: float) -> Link:
    return Link(backend="gloo", kind=kind, ranks=ranks, alpha0=alpha0, alpha1=alpha1, bytes_per_second=bandwidth)


def transfers(link: Link, noise: float = 0.0, seed: int = 0) -> list[Transfer]:
    factor = random.Random(seed).uniform
    return [Transfer(bytes=size, seconds=link.seconds(size) * factor(1 - noise, 1 + noise)) for size in PAYLOADS]


@given(kind=ring_kinds, ranks=st.integers(2, 64), alpha0=latencies, alpha1=latencies, bandwidth=bandwidths)
def test_with_a_group_of_one_all_three_are_found(
    kind: LinkKind, ranks: int, alpha0: float, alpha1: float, bandwidth: float
):
    link = planted(kind, ranks, alpha0, alpha1, bandwidth)
    found = fit_link("gloo", kind, ranks, transfers(link), alone=alpha0)
    assert found.error < 1e-2
    assert found.alpha0 == pytest.approx(alpha0, rel=1e-2)
    assert found.alpha1 == pytest.approx(alpha1, rel=2e-2)
    share = (link.seconds(PAYLOADS[-1]) - link.seconds(0)) / link.seconds(PAYLOADS[-1])
    if share > 0.01:  # else no transfer shows the bandwidth
        assert found.bytes_per_second == pytest.approx(bandwidth, rel=1e-2)


@given(kind=kinds, ranks=st.integers(2, 64), alpha0=latencies, alpha1=latencies, bandwidth=bandwidths)
def test_the_sum_of_the_latencies_needs_no_group_of_one(
    kind: LinkKind, ranks: int, alpha0: float, alpha1: float, bandwidth: float
):
    link = planted(kind, ranks, alpha0, alpha1, bandwidth)
    found = fit_link("gloo", kind, ranks, transfers(link))
    assert found.seconds(0) == pytest.approx(link.seconds(0), rel=1e-2)
    assert [found.seconds(size) for size in PAYLOADS] == pytest.approx(
        [link.seconds(size) for size in PAYLOADS], rel=1e-2
    )


@given(kind=kinds, seed=st.integers(0, 1000))
def test_five_percent_of_noise_stays_five_percent(kind: LinkKind, seed: int):
    link = planted(kind, 4, 1e-4, 1e-4, 1e9)
    found = fit_link("gloo", kind, 4, transfers(link, noise=0.05, seed=seed), alone=None)
    assert found.error < 0.05
    assert found.seconds(2**19) == pytest.approx(link.seconds(2**19), rel=0.05)


@given(times=st.lists(st.floats(1e-6, 10.0), min_size=len(PAYLOADS), max_size=len(PAYLOADS)), kind=kinds)
def test_whatever_was_measured_nothing_is_negative_or_endless(times: list[float], kind: LinkKind):
    points = [Transfer(bytes=size, seconds=taken) for size, taken in zip(PAYLOADS, times, strict=True)]
    found = fit_link("gloo", kind, 2, points, alone=times[0])
    assert found.alpha0 >= 0
    assert found.alpha1 >= 0
    assert 0 < found.bytes_per_second < math.inf
    assert found.transfers == tuple(points)


def test_latency_that_nothing_tells_apart_is_alpha0():
    found = fit_link("gloo", "send", 2, transfers(planted("send", 2, 1e-4, 2e-4, 1e9)))
    assert found.alpha0 == pytest.approx(3e-4)
    assert found.alpha1 == 0


def test_nothing_sent_is_refused():
    with pytest.raises(ValueError, match="no bytes"):
        fit_samples([Sample(steps=0, wire_bytes=0.0, seconds=1e-4)])
    with pytest.raises(ValueError, match="no bytes"):
        fit_samples([])

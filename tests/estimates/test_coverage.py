"""What is said of devices and dtypes of which no run was looked at, and how much wider their intervals are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.clusters.answer import plan_cluster
from plait.estimates.coverage import outside_what_was_looked_at, spread_of
from plait.estimates.estimate import estimate
from plait.specs.cluster import ClusterSpec, GroupSpec
from plait.specs.devices import DEVICES
from plait.specs.published import PUBLISHED
from tests.clusters.jobs import job
from tests.estimates.arranged import arranged, machines, task


def test_what_was_looked_at_stands_in_the_catalogue_in_a_dtype_of_its_own() -> None:
    for name, counts in PUBLISHED.items():
        assert all(DEVICES[name].peak(dtype) is not None and count > 0 for dtype, count in counts.items())


@pytest.mark.parametrize(
    ("name", "dtype", "spread", "words"),
    [
        ("a100-80gb", "bf16", 0.18, None),
        ("a100-40gb", "fp16", 0.18, None),  # the units and the rate of bf16
        ("h100-80gb", "fp8", 0.28, None),
        ("gb200", "nvfp4", 0.18, None),
        (
            "h200",
            "bf16",
            0.25,
            "no published run of h200 in bf16 was looked at: those of other hopper devices speak for it",
        ),
        ("gb200", "bf16", 0.25, "only 1 published run of gb200 in bf16 was looked at"),
        ("h100-96gb", "bf16", 0.25, "only 4 published runs of h100-96gb in bf16 were looked at"),
        ("h200", "fp8", 0.28, "no published run of h200 in fp8 was"),
        (
            "a100-80gb",
            "fp32",
            0.6,
            "no published run on ampere devices (a100-80gb) in fp32 was looked at: its data sheet",
        ),
        ("v100-32gb", "fp16", 0.6, "only 1 published run on volta devices"),
        ("mi300x", "bf16", 0.6, "no published run on cdna3 devices (mi300x) in bf16"),
        ("tpu-v5p", "bf16", 0.6, "no published run on tpu devices"),
        ("gaudi3", "bf16", 0.6, "steps may well take longer than predicted, and the interval is ±60%"),
        ("rtx-5090", "bf16", 0.6, "no published run on geforce blackwell devices"),
    ],
)
def test_each_device_and_dtype_has_its_width_and_words(name: str, dtype: str, spread: float, words: str | None) -> None:
    assert spread_of(DEVICES[name], dtype) == spread
    told = outside_what_was_looked_at(DEVICES[name], dtype)
    assert told is None if words is None else told is not None and words in told


def test_an_estimate_is_as_wide() -> None:
    usual = machines()
    for name, spread in (("a100-80gb", 0.18), ("mi300x", 0.6)):
        found = estimate(task(machines=replace(usual, device=DEVICES[name])), arranged(data=32))
        assert found.high[0] / found.times.step[0] == pytest.approx(1 + spread)
        assert found.times.step[0] / found.low[0] == pytest.approx(1 + spread)


def test_a_search_s_answer_says_so_and_its_plans_are_as_wide() -> None:
    known, unknown = plan_cluster(job(8)), plan_cluster(job(8, device="mi300x"))
    assert not any("published" in one for one in known.cautions)
    assert sum("no published run on cdna3" in one for one in unknown.cautions) == 1
    low, high = unknown.best.prediction.interval
    seconds = unknown.best.found.seconds
    assert (seconds / low, high / seconds) == (pytest.approx(1.6), pytest.approx(1.6))


def test_of_unequal_machines_the_least_known_decides() -> None:
    asked = job(8)
    groups = tuple(GroupSpec(device=name, devices_per_node=4) for name in ("a100-80gb", "rtx-4090"))
    found = plan_cluster(replace(asked, cluster=ClusterSpec(groups=groups, ranks=8)))
    assert found.best.found.interval[1] == pytest.approx(1.6 * found.best.found.seconds)
    assert sum("ada devices (rtx-4090)" in one for one in found.cautions) == 1

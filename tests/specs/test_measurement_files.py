"""Measurements at rest: what is written is read back, and a file that a stranger wrote is refused key by key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.errors import UnusableInput
from plait.specs.links import Link, Overlap, Transfer
from plait.specs.measurement_files import (
    default_path,
    document_of,
    nearest_path,
    read_measurements,
    write_measurements,
)
from plait.specs.measurements import Attention, Gemm, Host, Measurements, MemoryBound, Optimizer

MINIMAL = {
    "gemm": [{"m": 64, "n": 64, "k": 64, "dtype": "fp32", "flops_per_second": 9e10}],
    "memory_bandwidth": 1e10,
    "collectives": [
        {"backend": "gloo", "kind": "send", "ranks": 2, "alpha0": 1e-4, "alpha1": 0, "bytes_per_second": 1e9}
    ],
}

counts = st.integers(1, 2**40)
positives, rates = st.floats(min_value=1e-12, max_value=1e6), st.floats(min_value=1.0, max_value=1e18)
links = st.builds(
    Link,
    backend=st.sampled_from(["gloo", "nccl"]),
    kind=st.sampled_from(["all_reduce", "reduce_scatter", "all_gather", "send", "exchange"]),
    ranks=st.integers(1, 4096),
    alpha0=positives,
    alpha1=positives,
    bytes_per_second=rates,
    error=positives,
    transfers=st.lists(st.builds(Transfer, bytes=counts, seconds=positives), max_size=3).map(tuple),
)
gemms = st.builds(
    Gemm,
    m=counts,
    n=counts,
    k=counts,
    dtype=st.sampled_from(["fp64", "fp32", "bf16", "fp16"]),
    flops_per_second=rates,
    layout=st.sampled_from(["forward", "input_gradient", "weight_gradient"]),
)


def full(gemm: tuple[Gemm, ...] = (), collectives: tuple[Link, ...] = ()) -> Measurements:
    """Every part of a profile, with these among them."""
    return Measurements(
        gemm=(Gemm(m=1, n=2, k=3, dtype="bf16", flops_per_second=1.5), *gemm),
        memory_bandwidth=1e10,
        collectives=collectives,
        host=Host(processor="a µ-processor", cores=2, memory_bytes=2**34, date="2026-11-21"),
        attention=(
            Attention(batch=1, heads=4, seq=64, head_dim=32, dtype="fp32", forward_seconds=1e-4, backward_seconds=2e-4),
        ),
        memory_bound=(
            MemoryBound(
                kind="copy", elements=2**20, width=256, dtype="fp32", forward_seconds=1e-3, backward_seconds=0.0
            ),
        ),
        optimizer=(Optimizer(name="adamw", tensors=1, parameters=10, seconds=1e-5),),
        overlap=(Overlap(backend="gloo", ranks=2, exposed=0.5),),
        speeds=(1.0, 0.5),
    )


@given(gemm=st.lists(gemms, max_size=3).map(tuple), collectives=st.lists(links, max_size=3).map(tuple))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, gemm: tuple[Gemm, ...], collectives: tuple[Link, ...]
):
    path = tmp_path_factory.mktemp("cache") / "deeper" / "measurements.json"
    measurements = full(gemm, collectives)
    write_measurements(measurements, path)
    assert read_measurements(path) == measurements
    assert list(path.parent.iterdir()) == [path]


def test_the_contracts_document_alone_is_enough(tmp_path: Path):
    path = tmp_path / "m.json"
    path.write_text(json.dumps(MINIMAL | {"a_key_of_tomorrow": 1}))
    measured = read_measurements(path)
    assert measured.gemm[0].flops_per_second == 9e10
    assert measured.collectives[0].kind == "send"
    assert set(MINIMAL) <= set(document_of(measured))


def changed(key: str, value: object) -> dict[str, Any]:
    """MINIMAL with one value of its first product, or of the whole, replaced."""
    if key in MINIMAL or key in ("speeds", "memory_bandwidth_all"):
        return MINIMAL | {key: value}
    return MINIMAL | {"gemm": [MINIMAL["gemm"][0] | {key: value}]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("m", 0),
        ("m", 2.5),
        ("dtype", "fp8"),
        ("flops_per_second", 0),
        ("flops_per_second", -1.0),
        ("flops_per_second", float("nan")),
        ("flops_per_second", 1e-300),
        ("flops_per_second", 1e300),
        ("m", 2**61),
        ("memory_bandwidth", 0.5),
        ("memory_bandwidth_all", 1e19),
        ("speeds", [1.0, 1e-13]),
        ("memory_bandwidth", float("inf")),
        ("memory_bandwidth", "fast"),
        ("speeds", [1.0, 0.0]),
        ("speeds", [1.0, -0.5]),
        ("speeds", [1.0, float("nan")]),
        ("speeds", [1.0, float("inf")]),
        ("speeds", 1.0),
        ("gemm", []),
        ("gemm", None),
        ("collectives", [{"backend": "gloo"}]),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(tmp_path: Path, key: str, value: object):
    path = tmp_path / "m.json"
    path.write_text(json.dumps(changed(key, value)))
    with pytest.raises(UnusableInput, match=key) as refusal:
        read_measurements(path)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("flops_per_second", 1e-300, "gemm.0.flops_per_second = 1e-300 is below 1, the least that can be"),
        ("flops_per_second", 1e19, "gemm.0.flops_per_second = 1e+19 is above 1e+18, the most that can be"),
        ("flops_per_second", "fast", 'gemm.0.flops_per_second = "fast": Input should be a valid number'),
        ("speeds", [1.0, -0.5], "speeds.1 = -0.5 is below 1e-12, the least that can be"),
        ("collectives", [{"backend": "gloo"}], "collectives.0.kind is missing"),
    ],
)
def test_a_refusal_has_the_field_its_value_and_what_is_wrong(tmp_path: Path, key: str, value: object, words: str):
    path = tmp_path / "m.json"
    path.write_text(json.dumps(changed(key, value)))
    with pytest.raises(UnusableInput) as refusal:
        read_measurements(path)
    assert f"\n  {words}" in str(refusal.value)
    assert "gemm = " not in str(refusal.value)  # its one item is wrong; that the list is then empty goes without saying


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b'{"gemm": ' + b"[" * 100_000])
def test_what_is_no_document_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "m.json"
    path.write_bytes(content)
    with pytest.raises(UnusableInput, match=r"m\.json .*`plait profile` writes new ones"):
        read_measurements(path)


def test_many_complaints_are_cut_short(tmp_path: Path):
    path = tmp_path / "m.json"
    path.write_text(json.dumps(MINIMAL | {"gemm": [MINIMAL["gemm"][0], *[{}] * 100]}))
    with pytest.raises(UnusableInput) as refusal:
        read_measurements(path)
    assert len(str(refusal.value).splitlines()) == 7
    assert str(refusal.value).endswith("and 495 more")


def test_a_missing_file_says_what_writes_one(tmp_path: Path):
    with pytest.raises(UnusableInput, match="plait profile"):
        read_measurements(tmp_path / "none.json")


def test_a_place_that_takes_no_file_is_refused_and_left_clean(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnusableInput, match="can't be written"):
        write_measurements(full(), tmp_path / "file" / "m.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UnusableInput, match="can't be written"):
        write_measurements(full(), tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_the_default_place_follows_the_environment():
    assert default_path({"PLAIT_CACHE": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a/measurements.json")
    assert default_path({"XDG_CACHE_HOME": "/b"}) == Path("/b/plait/measurements.json")
    assert default_path({}) == Path.home() / ".cache" / "plait" / "measurements.json"


def test_hosts_that_were_never_measured_together_are_taken_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path))
    assert nearest_path(1) == nearest_path(2) == tmp_path / "measurements.json"
    (tmp_path / "measurements-2-hosts.json").touch()
    assert nearest_path(2) == tmp_path / "measurements-2-hosts.json"
    assert nearest_path(1) == nearest_path(4) == tmp_path / "measurements.json"

"""`plait profile`: the contract's document, where it is written, what a person sees, and bad places told beforehand."""

from __future__ import annotations

import dataclasses
import json
import re
from functools import partial
from pathlib import Path

import pytest

from plait import api
from plait.cli.main import main
from plait.cli.profile_tables import profile_lines
from plait.specs.links import Link, Transfer
from plait.specs.measurement_files import document_of, read_measurements
from plait.specs.measurements import Contention, Gemm, Host, Measurements, MemoryBound
from tests.contract.golden import assert_shape, golden
from tests.devices.grids import TINY

BARE = Measurements(
    gemm=(Gemm(m=64, n=64, k=64, dtype="fp32", flops_per_second=9.12e10),), memory_bandwidth=1.08e10, seconds=1.0
)


def text(measured: Measurements) -> str:
    return "\n".join("".join(part for _, part in line) for line in profile_lines(measured))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Profiles of a tiny grid."""
    monkeypatch.setattr(api, "profile", partial(api.profile, grid=TINY))


@pytest.fixture
def measured_already(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """No measuring: BARE, and the numbers of ranks that were asked for."""
    asked: list[int | None] = []

    def found(ranks: int | None, **more: object) -> Measurements:
        asked.append(ranks)
        return BARE

    monkeypatch.setattr(api, "profile", found)
    return asked


def test_a_profile_is_written_printed_and_said(quick: None, tmp_path: Path, capsys):
    path = tmp_path / "new" / "m.json"
    assert main(["profile", "--json", "--ranks", "2", "--out", str(path)]) == 0
    seen = capsys.readouterr()
    document = json.loads(seen.out)
    assert_shape(document, golden("profile"))
    assert document.pop("written") == str(path)
    assert document == json.loads(path.read_text())
    assert {link["ranks"] for link in document["collectives"]} == {2}
    assert "links between 2 ranks" in seen.err
    page = text(read_measurements(path))
    for heading in ("matrix products", "causal attention", "memory-bound", "one rank", "links", "behind compute"):
        assert heading in page


def test_the_cache_is_the_default_place(measured_already: list[int | None], tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path))
    assert main(["profile"]) == 0
    assert read_measurements(tmp_path / "measurements.json") == BARE
    assert str(tmp_path / "measurements.json") in capsys.readouterr().out
    assert measured_already == [None]


def test_a_place_that_takes_no_file_is_refused_before_anything_is_measured(
    measured_already: list[int | None], tmp_path: Path, capsys
):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "m.json", tmp_path):
        assert main(["profile", "--json", "--out", str(place)]) == 2
        assert "can't be written" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert measured_already == []
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("ranks", ["0", "-2", "1000", "two"])
def test_a_number_of_ranks_that_is_none(measured_already: list[int | None], ranks: str, capsys):
    assert main(["profile", "--ranks", ranks]) == 2
    assert "--ranks" in capsys.readouterr().err
    assert measured_already == []


def test_a_page_shows_what_was_measured_and_nothing_else():
    assert "91.2" in text(BARE)
    assert "10.8 GB/s" in text(BARE)
    for heading in ("causal attention", "memory-bound", "links", "behind compute", "at once"):
        assert heading not in text(BARE)


def test_a_busy_machine_is_told():
    host = Host(processor="p", cores=2, memory_bytes=2**30, busy_cores=1.5)
    assert "1.5 cores busy" in text(dataclasses.replace(BARE, host=host))
    assert "busy" not in text(dataclasses.replace(BARE, host=dataclasses.replace(host, busy_cores=0.1)))


def test_links_and_memory_are_told_in_units():
    link = Link(
        backend="gloo",
        kind="all_reduce",
        ranks=2,
        alpha0=1e-4,
        alpha1=1e-4,
        bytes_per_second=1e9,
        error=0.07,
        transfers=(Transfer(bytes=1024, seconds=3e-4),),
    )
    moved = MemoryBound(
        kind="gelu", elements=1024, width=256, dtype="fp32", forward_seconds=2.048e-6, backward_seconds=1.024e-6
    )
    apart = dataclasses.replace(link, kind="send", hosts=2, overhead=4e-4)
    contention = Contention(ranks=2, gemm=1.5, memory=2.0, cached=1.1)
    page = text(dataclasses.replace(BARE, collectives=(link, apart), memory_bound=(moved,), contention=contention))
    for words in ("300 µs", "1.00 GB/s", "±7%", "1 KiB", "2.00  1.00", "×1.50", "×1.10 in caches, ×2.00 beyond"):
        assert words in page
    assert re.search("each send between 2 ranks, 2 hosts +and 400 µs more of computing", page)
    assert "each all_reduce" not in page, "within a host none was looked for"


def test_the_document_is_the_files():
    assert set(golden("profile")) <= set(document_of(BARE))

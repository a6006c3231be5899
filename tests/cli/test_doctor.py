"""`plait doctor`: the contract's document, a failed check for each planted fault, and no wait without an end."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from plait.cli import doctor
from plait.cli.main import main
from plait.collectives.contents import Delivery
from plait.devices.checkup import Check
from plait.devices.device import Device
from plait.specs.links import LinkKind
from plait.specs.measurement_files import write_measurements
from plait.specs.measurements import Gemm, Host, Measurements, Processor
from tests.contract.golden import assert_shape, golden


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache and a place for runs of its own, and no ranks."""
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "check_ranks", lambda device: iter(()))
    return tmp_path


def test_what_a_doctor_says_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys):
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path))
    code = main(["doctor", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert_shape(document, golden("doctor"))
    assert code == (0 if document["ok"] else 1)
    checks = {check["name"]: check for check in document["checks"]}
    assert document["ok"] == all(check["ok"] for check in checks.values())
    exchanged = [name for name in checks if name.endswith(("over gloo", "over shared-memory"))]
    assert len(exchanged) == 7
    assert all(checks[name]["ok"] for name in exchanged)
    assert "4 MiB in" in checks["all_reduce over shared-memory"]["detail"]


def test_one_planted_fault_is_the_answer_no(elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "no-such-0")
    assert main(["doctor", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    failed = [check for check in document["checks"] if not check["ok"]]
    assert [check["name"] for check in failed] == ["environment"]
    assert main(["doctor"]) == 1
    page = capsys.readouterr().out
    assert "FAIL  environment" in page
    assert page.rstrip().endswith(f"1 of {len(document['checks'])} checks failed")


def test_a_sound_page_ends_well():
    answer = doctor.answer_of([Check(name="a", ok=True, detail="b")])
    assert (answer.code, answer.document["ok"]) == (0, True)
    assert list(answer.lines)[-1][0][1] == "this machine works"


def test_wrong_contents_name_the_rank():
    def exchange(kind: LinkKind, wrong: int) -> Delivery:
        return Delivery(wire="gloo", kind=kind, bytes=1024, seconds=1e-3, numbers=256, wrong=wrong)

    found = [(exchange("send", 0), exchange("all_reduce", 0)), (exchange("send", 0), exchange("all_reduce", 3))]
    send, all_reduce = doctor.check_exchange(found)
    assert send.ok
    assert not all_reduce.ok
    assert "rank 1 has 3 wrong numbers of 256" in all_reduce.detail


def die(device: Device) -> None:
    os._exit(7)


def hang(device: Device) -> None:
    time.sleep(1000)


def test_a_rank_that_dies_is_a_failed_check(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("plait.collectives.contents.exchange_contents", die)
    (check,) = doctor.check_ranks(Device())
    assert not check.ok
    assert "exit code 7" in check.detail


def test_a_rank_that_hangs_is_a_failed_check_in_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("plait.collectives.contents.exchange_contents", hang)
    monkeypatch.setattr(doctor, "_PATIENCE", 0.5)
    (check,) = doctor.check_ranks(Device())
    assert not check.ok
    assert "not answered" in check.detail


def written(place: Path, processor: str, busy: float = 0.0) -> Path:
    gemm = (Gemm(m=1, n=1, k=1, dtype="fp32", flops_per_second=1.0),)
    host = Host(processor=processor, cores=2, memory_bytes=1, date="2026-11-21", busy_cores=busy)
    write_measurements(Measurements(gemm=gemm, memory_bandwidth=1.0, host=host), place / "m.json")
    return place / "m.json"


def test_measurements_of_another_machine(tmp_path: Path):
    check = doctor.check_measurements(written(tmp_path, "an abacus"))
    assert not check.ok
    assert "an abacus" in check.detail
    assert "plait profile" in check.detail


def test_measurements_of_this_machine_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("plait.devices.host.this_processor", lambda: Processor("ours", 2))
    quiet, busy = (doctor.check_measurements(written(tmp_path, "ours", cores)) for cores in (0.0, 1.5))
    assert quiet.ok
    assert busy.ok, "it is this machine's"
    assert "other programs kept 1.5 cores busy" in busy.detail
    assert "busy" not in quiet.detail
    assert doctor.check_measurements(tmp_path / "none.json").ok


def test_measurements_that_can_t_be_read(tmp_path: Path):
    (tmp_path / "m.json").write_text("{")
    check = doctor.check_measurements(tmp_path / "m.json")
    assert not check.ok
    assert "Invalid JSON" in check.detail

"""Every check passes here, and fails where its fault is planted, with the rule and the remedy in its words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from plait.devices import checkup
from plait.devices.checkup import Check


def test_this_machine_is_fit(tmp_path: Path):
    checks = [
        checkup.check_python(),
        *checkup.check_packages(),
        checkup.check_cores(),
        checkup.check_accelerator(),
        checkup.check_disk(tmp_path / "runs" / "not yet there"),
        checkup.check_threads({}),
        checkup.check_environment({}),
    ]
    assert [check for check in checks if not check.ok] == []
    assert {"python", "plait", "torch", "numpy", "cores", "accelerator"} <= {check.name for check in checks}


def test_an_old_python():
    assert not checkup.check_python((3, 10, 2)).ok
    assert "3.11" in checkup.check_python((3, 10, 2)).detail
    assert checkup.check_python((3, 11, 0)).ok


@pytest.mark.parametrize(
    ("version", "bounds", "expected"),
    [
        ("2.13.0+cpu", ">=2.11,<2.14", True),
        ("2.14.0", ">=2.11,<2.14", False),
        ("2.9.1", ">=2.11", False),
        ("2.11", ">=2.11.0", True),
        ("0.4.3", "==0.4.3", True),
        ("1.0rc1", "<1.0", False),
        ("1.2", "<=1.1", False),
        ("1.2", ">1.1", True),
        ("5", "", True),
    ],
)
def test_bounds(version: str, bounds: str, expected: bool):
    assert checkup.satisfies(version, bounds) is expected


def test_packages_that_are_missing_or_too_old():
    needed = ("no-such-package-of-ours>=1.0", "torch>=99", "numpy", 'pytest>=8; extra == "test"')
    missing, old, fine = (check for check in checkup.check_packages(needed) if check.name != "plait")
    assert (missing.ok, old.ok, fine.ok) == (False, False, True)
    assert "not installed" in missing.detail
    assert "torch>=99" in old.detail


def test_too_little_memory():
    check = checkup.check_cores(cores=2, memory=2**20)
    assert not check.ok
    assert "2 usable, 1 MiB" in check.detail


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_a_number_of_threads_that_is_none(value: str):
    assert not checkup.check_threads({"OMP_NUM_THREADS": value}).ok


def test_what_a_launcher_left_behind():
    check = checkup.check_environment({"RANK": "1", "MASTER_ADDR": "node", "HOME": "/somewhere", "TOKEN": "secret"})
    assert not check.ok
    assert "WORLD_SIZE, MASTER_PORT" in check.detail
    assert "RANK=1" in check.detail
    assert "secret" not in check.detail


def test_an_interface_that_does_not_exist():
    assert not checkup.check_environment({"GLOO_SOCKET_IFNAME": "no-such-0"}).ok
    assert "no-such-0" in checkup.check_environment({"GLOO_SOCKET_IFNAME": "no-such-0"}).detail


def test_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert checkup.check_shared_memory(tmp_path).ok
    assert checkup.check_shared_memory(tmp_path / "none").ok == (sys.platform != "linux")
    monkeypatch.setattr(checkup, "_LEAST_SHARED_MEMORY", 2**80)
    assert "--shm-size" in checkup.check_shared_memory(tmp_path).detail


def test_a_disk_that_takes_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    check = checkup.check_disk(tmp_path / "file" / "runs")
    assert (check.ok, check.name) == (False, "disk")
    assert "can't be written" in check.detail
    monkeypatch.setattr(checkup, "_LEAST_DISK", 2**80)
    assert not checkup.check_disk(tmp_path).ok


def test_a_check_says_what_it_found():
    assert all(check.detail for check in (checkup.check_accelerator(), checkup.check_threads(), checkup.check_python()))
    assert isinstance(checkup.check_python(), Check)

"""The host's facts: within bounds that hold on any machine, and exact where a container's limits are planted."""

from __future__ import annotations

import mmap
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from plait.devices import host
from plait.specs.cluster import usable_cores


def test_cores_and_memory_are_within_the_machine():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    assert 2**20 < host.memory_bytes() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert host.processor_name()


@pytest.mark.parametrize(("limit", "expected"), [("1048576", 1048576), ("max", None), (str(2**62), None)])
def test_a_containers_memory_limit_counts(tmp_path: Path, limit: str, expected: int | None):
    (tmp_path / "memory.max").write_text(limit + "\n")
    assert host.memory_bytes(tmp_path) == (expected or host.memory_bytes(tmp_path / "none"))


def test_the_peak_is_never_below_what_is_resident_and_grows_with_it():
    before = host.peak_resident_bytes()
    filled = bytearray(os.urandom(1)) * 2**26
    assert host.resident_bytes() <= host.peak_resident_bytes()
    del filled
    assert host.peak_resident_bytes() >= before


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system doesn't say what is a file's")
def test_what_is_mapped_from_a_file_is_told_from_what_is_the_process_s_own(tmp_path: Path):
    size = 2**24
    (tmp_path / "file").write_bytes(bytes(size))
    files, resident = host.resident_file_bytes(), host.resident_bytes()
    with (tmp_path / "file").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) == 0
        assert host.resident_file_bytes() - files > 0.9 * size
        assert host.resident_bytes() - resident > 0.9 * size
    filled = bytearray(os.urandom(1)) * size
    assert host.resident_file_bytes() - files < 0.1 * size
    del filled


@pytest.mark.clock
@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this system doesn't say how busy it is")
def test_a_working_thread_is_seen():
    stop = threading.Event()
    worker = threading.Thread(target=lambda: all(not stop.is_set() for _ in iter(int, 1)))
    worker.start()
    try:
        assert (host.busy_cores(0.2) or 0.0) > 0.3
        load = host.Load()
        assert load.read() is None, "too short a while"
        time.sleep(0.5)
        found = load.read()
        assert found is not None
        assert 0.3 < found.own < found.everybody + 0.3
        assert found.machine
    finally:
        stop.set()
        worker.join()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system doesn't say what is resident now")
def test_a_peak_is_never_below_what_is_resident(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(host.resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=1))
    assert host.peak_resident_bytes() > 1 << 20

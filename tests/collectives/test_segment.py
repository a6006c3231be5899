"""Memory without a name: what one process writes another sees, and it goes with the last that looks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plait.collectives.segment import attached, can_share, created, host_identity, mapped


def attach_and_write(process, descriptor):
    bytes_ = attached(process, descriptor, 64)
    bytes_[3] = 7
    return host_identity()


def test_what_another_process_writes_is_seen(run_on_ranks):
    descriptor = created(64)
    try:
        here = mapped(descriptor, 64)
        assert here.tolist() == [0] * 64
        identities = run_on_ranks(1, attach_and_write, os.getpid(), descriptor)
    finally:
        os.close(descriptor)
    assert here[3] == 7
    assert identities == [host_identity()]
    assert can_share()


def mappings() -> int:
    return sum("memfd:plait" in line for line in Path("/proc/self/maps").read_text().splitlines())


def test_it_is_unmapped_with_its_last_tensor():
    before = mappings()
    descriptor = created(1 << 16)
    here = mapped(descriptor, 1 << 16)
    part = here[:10].view(-1)
    os.close(descriptor)
    del here
    assert mappings() == before + 1
    part[0] = 1
    del part
    assert mappings() == before


def test_what_is_not_there_can_not_be_attached():
    with pytest.raises(RuntimeError):
        attached(os.getpid(), 987_654, 64)


@pytest.mark.parametrize(("platform", "machine"), [("darwin", "x86_64"), ("linux", "aarch64")])
def test_elsewhere_it_is_not_for(monkeypatch, platform, machine):
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert not can_share()


def test_where_the_kernel_tells_nothing_hosts_are_told_apart_by_their_names(monkeypatch):
    def refused(*_):
        raise FileNotFoundError

    monkeypatch.setattr("os.readlink", refused)
    found = []
    for name in ("one", "other", "one"):
        monkeypatch.setattr("platform.node", lambda name=name: name)
        found.append(host_identity())
    assert found[0] == found[2] != found[1]

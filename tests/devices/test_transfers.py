"""Copies between device and host: done at once on a CPU; on an accelerator in queues, in the right order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from plait.devices import transfers as devices_transfers
from plait.devices.device import Device, current_device
from plait.devices.transfers import Transfers

needs_accelerator = pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator")


def test_on_a_cpu_a_copy_is_done_when_it_was_asked_for():
    transfers, source = Transfers(Device()), torch.arange(6.0).view(2, 3)
    host = transfers.memory(source)
    assert (host.shape, host.dtype, host.is_pinned()) == (source.shape, source.dtype, False)
    arrived = transfers.to_host([(source, host)])
    assert torch.equal(host, source)
    source.zero_()
    arrived()
    assert host.sum() == 15  # memory of its own
    transfers.to_device([(host, source)])
    assert torch.equal(host, source)
    transfers.finish()


def test_what_is_strided_arrives_too():
    transfers, whole = Transfers(Device()), torch.arange(12.0).view(3, 4)
    piece = whole[:, 1:3]
    host = transfers.memory(piece)
    transfers.to_host([(piece, host)])()
    transfers.to_device([(host + 100, piece)])
    assert torch.equal(whole, torch.tensor([[0.0, 101, 102, 3], [4, 105, 106, 7], [8, 109, 110, 11]]))


def test_queues_wait_for_kernels_and_kernels_for_queues(monkeypatch):
    told: list[str] = []
    names = iter(("out", "back"))

    class Stream:
        def __init__(self, device=None, name=None):
            self.name = name or next(names)

        def wait_stream(self, other):
            told.append(f"{self.name} waits for {other.name}")

        def record_event(self):
            told.append(f"{self.name} marks")
            return Event(self.name)

        def __enter__(self):
            told.append(f"on {self.name}")

        def __exit__(self, *raised):
            told.append(f"off {self.name}")

    class Event:
        def __init__(self, name):
            self.name = name

        def synchronize(self):
            told.append(f"host waits for {self.name}")

    kernels = Stream(name="kernels")
    monkeypatch.setattr(torch, "Stream", Stream)
    monkeypatch.setattr(torch.accelerator, "current_stream", lambda device: kernels)
    transfers = Transfers(Device(kind="cuda"))
    here, there = torch.zeros(2), torch.ones(2)
    arrived = transfers.to_host([(there, here)])
    arrived()
    transfers.to_device([(here, there)])
    transfers.finish()
    assert told == [
        "out waits for kernels", "on out", "out marks", "off out", "host waits for out",
        "on back", "back marks", "off back", "kernels waits for back",
    ]  # fmt: skip


class Idle:
    """A queue of a device that does nothing before it is waited for, and then all up to there, in its order."""

    entered: Idle

    def __init__(self, device=None) -> None:
        self.work: list[Callable[[], object]] = []
        self.done = 0

    def mark(self) -> Callable[[], None]:
        upto = len(self.work)

        def work() -> None:
            while self.done < upto:
                self.done += 1
                self.work[self.done - 1]()

        return work

    def wait_stream(self, other: Idle) -> None:
        self.work.append(other.mark())

    def record_event(self):
        return SimpleNamespace(synchronize=self.mark())

    def __enter__(self) -> None:
        Idle.entered = self

    def __exit__(self, *raised: object) -> None:
        del Idle.entered


def test_a_copy_that_is_made_only_when_it_is_waited_for_is_there_in_time(monkeypatch):
    """Kernels add one on the device, the host adds another."""
    kernels, copy = Idle(), devices_transfers._copy
    monkeypatch.setattr(torch, "Stream", Idle)
    monkeypatch.setattr(torch.accelerator, "current_stream", lambda device: kernels)
    monkeypatch.setattr(devices_transfers, "_copy", lambda pairs: Idle.entered.work.append(partial(copy, list(pairs))))
    transfers = Transfers(Device(kind="cuda"))
    weight, host = torch.zeros(3), torch.full((3,), torch.nan)
    for step in range(1, 4):
        kernels.work.append(partial(weight.add_, 1))
        arrived = transfers.to_host([(weight, host)])
        assert not torch.equal(host, torch.full_like(host, 2 * step - 1))
        arrived()
        assert torch.equal(host, torch.full_like(host, 2 * step - 1))
        host.add_(1)
        transfers.to_device([(host, weight)])
        transfers.finish()
        assert torch.equal(weight, torch.full_like(host, 2 * step - 1)), "nobody has waited"
    kernels.mark()()
    assert torch.equal(weight, torch.full_like(host, 6))


@contextmanager
def kernels_that_take_long(device):
    """What is queued before what is done inside is still going on."""
    large = torch.ones(4096, 4096, device=device.torch)
    for _ in range(20):
        large = large @ large / 4096
    yield


@needs_accelerator
def test_on_an_accelerator_there_and_back():
    device = current_device()
    transfers, weight = Transfers(device), torch.zeros(1 << 20, device=device.torch)
    host = transfers.memory(weight)
    assert host.is_pinned()
    for step in range(1, 4):
        with kernels_that_take_long(device):
            weight.add_(1)
        transfers.to_host([(weight, host)])()
        assert torch.equal(host, torch.full_like(host, 2 * step - 1))
        host.add_(1)
        transfers.to_device([(host, weight)])
        transfers.finish()
        assert torch.equal(weight.cpu(), torch.full_like(host, 2 * step))

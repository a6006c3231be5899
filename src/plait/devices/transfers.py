"""Copies between a device and host memory, each way in a queue of its own, beside what device and host compute.

    device's own queue   ──kernels──┐                        ┌──kernels──
    out                             └─ a ─ b ─ c             │
    back                                     └ a ─ b ─ c ────┘ finish
    host                               a : b : c             what has arrived, it works on

Where there is no accelerator both ends are the process's memory, and a copy is done when it has been asked for. It
knows tensors, and not what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from plait.devices.device import Device

__all__ = ["Pair", "Transfers"]

Pair = tuple[Tensor, Tensor]  # from, to: as many elements of one dtype


class Transfers:
    """Copies for one device. What is copied has to live until `finish`, and what lies in `memory` is not to be written
    by the host while it leaves: it may be again once something that was sent out later has arrived."""

    def __init__(self, device: Device) -> None:
        self._device = device
        ways = ("out", "back") if device.is_accelerator else ()
        self._queues = {way: torch.Stream(device.torch) for way in ways}

    def memory(self, like: Tensor) -> Tensor:
        """Host memory for as many elements, one after another, which the device can reach by itself: its pages stay
        where they are. torch rounds such memory up to a power of two."""
        return torch.empty(like.shape, dtype=like.dtype, device="cpu", pin_memory=self._device.is_accelerator)

    def to_host(self, pairs: Iterable[Pair]) -> Callable[[], None]:
        """Begin to copy what the device's kernels so far leave in tensors of its own; calling what comes back waits
        until it has arrived."""
        if not self._queues:
            _copy(pairs)
            return _arrived
        self._queues["out"].wait_stream(self._current())
        return self._queued("out", pairs).synchronize

    def to_device(self, pairs: Iterable[Pair]) -> None:
        """Begin to copy what the host has written, over what kernels that were waited for have read."""
        if self._queues:
            self._queued("back", pairs)
        else:
            _copy(pairs)

    def finish(self) -> None:
        """The device's kernels from now on find all that was sent to it."""
        if self._queues:
            self._current().wait_stream(self._queues["back"])

    def _current(self) -> torch.Stream:
        return torch.accelerator.current_stream(self._device.torch)

    def _queued(self, way: str, pairs: Iterable[Pair]) -> torch.Event:
        with self._queues[way]:
            _copy(pairs)
            return self._queues[way].record_event()


def _arrived() -> None:
    """What was copied at once."""


@torch.no_grad()
def _copy(pairs: Iterable[Pair]) -> None:
    for source, target in pairs:
        target.copy_(source, non_blocking=True)

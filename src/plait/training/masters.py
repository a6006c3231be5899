"""Where the weights live that an optimizer updates, how gradients come to them, and new weights leave them.

    OnDevice        the weights themselves; where dtypes differ or it is asked for, a master beside each
    InHostMemory    a master of each in host memory, and so the optimizer's state, which is made like it: a device has
                    weights and gradients alone (`offload`)

    out             gradient a │ gradient b │ gradient c
    update on host             │     a      │     b      │     c                what moves, moves beside an update
    back                                    │  weight a  │  weight b  │  weight c

Gradients leave once they are clipped, and not before: an update on a host touches seven times the bytes of a gradient
in memory that is hardly faster than the way out, so that all but the first batch's copies hide behind updates. A new
weight leaves, in the dtype that a device computes in, from the memory of the gradient that it was made from: so the
host has one piece of memory that a device reaches for each weight, and masters that nothing but the update touches.

Source: Ren et al., "ZeRO-Offload: Democratizing Billion-Scale Model Training" (2021). It knows named tensors, and
nothing of how they are updated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from plait.devices.device import Device, device_of
from plait.devices.transfers import Pair, Transfers
from plait.plans.offload import BATCH_BYTES

__all__ = ["InHostMemory", "Masters", "OnDevice"]


class Masters(Protocol):
    """The weights that are updated, batch by batch (by its place among `batches`)."""

    @property
    def of(self) -> Mapping[str, torch.nn.Parameter]:
        """By name, each weight's master."""
        ...

    @property
    def gradients(self) -> Mapping[str, Tensor]:
        """By name, what a master is updated from, once it was taken in."""
        ...

    @property
    def batches(self) -> Sequence[Sequence[str]]:
        """The names that come in, are updated and are given back together."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of them and of their gradients, as far as those are not the model's own."""
        ...

    def begin(self) -> None:
        """The model's gradients are complete."""
        ...

    def take_in(self, batch: int) -> None:
        """Return when the gradients of a batch are there."""
        ...

    def give_back(self, batch: int) -> None:
        """The masters of a batch have been written: the model's weights are to be the same."""
        ...

    def end(self) -> None:
        """The model computes from now on with all that was given back."""
        ...

    def adopt(self) -> None:
        """The model's weights have been written: the masters are to be the same."""
        ...


class OnDevice:
    """Masters where the weights are: one batch. `apart`: each weight has one of its own where dtypes agree, too."""

    def __init__(
        self, weights: Mapping[str, torch.nn.Parameter], gradients: Mapping[str, Tensor], *, apart: bool
    ) -> None:
        self.gradients = gradients
        self.batches = [tuple(weights)] if weights else []  # a rank may update nothing
        self.of = {name: _master(weight, gradients[name].dtype, apart) for name, weight in weights.items()}
        self._copies = [(self.of[name], weight) for name, weight in weights.items() if self.of[name] is not weight]

    @property
    def nbytes(self) -> int:
        """As `Masters`."""
        return sum(master.nbytes for master, _ in self._copies)

    def begin(self) -> None:
        """As `Masters`."""

    def take_in(self, batch: int) -> None:
        """As `Masters`."""

    @torch.no_grad()
    def give_back(self, batch: int) -> None:
        """As `Masters`."""
        for master, weight in self._copies:
            weight.copy_(master)

    def end(self) -> None:
        """As `Masters`."""

    @torch.no_grad()
    def adopt(self) -> None:
        """As `Masters`."""
        for master, weight in self._copies:
            master.copy_(weight)


class InHostMemory:
    """Masters in host memory, in the gradients' dtype, which is at least as wide as the weights'."""

    def __init__(self, weights: Mapping[str, torch.nn.Parameter], gradients: Mapping[str, Tensor]) -> None:
        device = device_of(next(iter(weights.values()))) if weights else Device()
        self._weights, self._transfers = weights, Transfers(device)
        self._made = {name: gradients[name] for name in weights}  # by the model
        self.gradients = {name: self._transfers.memory(gradient) for name, gradient in self._made.items()}
        self.of = {
            name: torch.nn.Parameter(torch.empty_like(gradient, pin_memory=False))
            for name, gradient in self.gradients.items()
        }
        self.batches = list(_batches(self._made))
        self._leaving = {name: _front(self.gradients[name], weight) for name, weight in weights.items()}
        self._arrivals: list[Callable[[], None]] = []
        self.adopt()

    @property
    def nbytes(self) -> int:
        """As `Masters`."""
        return sum(tensor.nbytes for tensors in (self.of, self.gradients) for tensor in tensors.values())

    def begin(self) -> None:
        """As `Masters`: all are on their way out, one batch after another."""
        self._arrivals = [
            self._transfers.to_host([(self._made[name], self.gradients[name]) for name in batch])
            for batch in self.batches
        ]

    def take_in(self, batch: int) -> None:
        """As `Masters`."""
        self._arrivals[batch]()

    def give_back(self, batch: int) -> None:
        """As `Masters`: on their way back."""
        self._transfers.to_device([self._cast(name) for name in self.batches[batch]])

    def end(self) -> None:
        """As `Masters`."""
        self._transfers.finish()

    @torch.no_grad()
    def adopt(self) -> None:
        """As `Masters`."""
        for name, weight in self._weights.items():
            self.of[name].copy_(weight)

    @torch.no_grad()
    def _cast(self, name: str) -> Pair:
        return self._leaving[name].copy_(self.of[name]), self._weights[name]


def _master(weight: torch.nn.Parameter, dtype: torch.dtype, apart: bool) -> torch.nn.Parameter:
    if weight.dtype == dtype and not apart:
        return weight
    return torch.nn.Parameter(weight.detach().to(dtype, copy=True))


def _batches(gradients: Mapping[str, Tensor]) -> Iterator[tuple[str, ...]]:
    """The names in their order, as many together as don't exceed `BATCH_BYTES`, at least one."""
    batch: list[str] = []
    held = 0
    for name, gradient in gradients.items():
        if batch and held + gradient.nbytes > BATCH_BYTES:
            yield tuple(batch)
            batch, held = [], 0
        batch.append(name)
        held += gradient.nbytes
    if batch:
        yield tuple(batch)


def _front(memory: Tensor, weight: Tensor) -> Tensor:
    """The beginning of some memory, as a tensor of a weight's shape and dtype."""
    return memory.view(-1).view(weight.dtype)[: weight.numel()].view(weight.shape)

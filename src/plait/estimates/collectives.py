"""What a message between devices of a cluster takes: inside a host's domain, and from domain to domain.

    ranks are numbered tensor innermost, then context, data, pipeline:

    domain 0   │ t0 t1 │ t0 t1 │ t0 t1 │ t0 t1 │      a group along an axis takes every `stride`-th rank;
    domain 1   │ t0 t1 │ t0 t1 │ t0 t1 │ t0 t1 │      what of it stands in one domain talks over the inner link

A group that spans domains works in two levels: reduce-scatter inside, the rest between, all-gather inside. Every device
drives its own share of the host's cards, since the other groups of its domain send at the same time.

    all-reduce       2 (reduce-scatter)
    reduce-scatter   α0 + (g-1)·α1 + (g-1)/g · S/B inside, then the same of S/g among the n/g domains
    dispatch         rows to k experts: to a domain once, inside it to each
    send             α + S/B; across, B is a rank's share of the cards

Sources: planning.md's formulas, after Thakur et al. 2005 and NCCL's rings. It knows no plan but sizes and strides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plait.estimates.arrangements import Column, Numbers
from plait.specs.machines import Machines

__all__ = ["Network"]


@dataclass(frozen=True, kw_only=True)
class Network:
    """The links of equal hosts."""

    machines: Machines

    def inside(self, ranks: Numbers, stride: Numbers) -> Numbers:
        """How many of a group's ranks stand in one domain."""
        return np.clip(self.machines.domain // stride, 1, ranks)

    def reduce_scatter(self, size: Column, ranks: Numbers, stride: Numbers) -> Column:
        """Seconds of a reduce-scatter, or all-gather, of `size` bytes in all; 0 for one rank."""
        near = self.inside(ranks, stride)
        far = np.ceil(ranks / near)
        inner = self._ring(size, near, self._inner_rate(near), *self._inner_latency)
        outer = self._ring(size / near, far, self._outer_rate, *self._outer_latency)
        return inner + outer

    def all_reduce(self, size: Column, ranks: Numbers, stride: Numbers) -> Column:
        """Seconds of an all-reduce of `size` bytes."""
        first = self._inner_latency[0] * (ranks > 1)
        return 2 * self.reduce_scatter(size, ranks, stride) - first

    def dispatch(self, size: Column, copies: int, ranks: Numbers, stride: Numbers) -> Column:
        """Seconds in which every rank sends each row of its `size` bytes to `copies` of the ranks, drawn evenly.

        To a domain a row travels once, whoever wants it there (DeepSeek-V3, section 3.2.2): n domains and k copies
        are n·(1 - (1 - 1/n)^k) of them.
        """
        near = self.inside(ranks, stride)
        domains = ranks / near
        reached = domains * (1 - (1 - 1 / domains) ** copies)
        outer = size * reached * (domains - 1) / domains / self._outer_rate
        inner = size * copies * (near - 1) / near / self._inner_rate(near)
        steps = self._inner_latency[0] * (ranks > 1) + (np.minimum(ranks, 32) - 1) * self._inner_latency[1]
        return np.where(ranks > 1, np.maximum(inner, outer) + steps, 0.0)

    def send(self, size: Column) -> Column:
        """Seconds of a message to another device of the same domain."""
        return self._inner_latency[1] + size / self._inner_rate(np.array([2]))

    def send_across(self, size: Column, ranks: Numbers) -> Column:
        """Seconds of a message from each of so many neighbouring ranks to another domain: they share their host's
        cards, and a device has no more than its own, at least one."""
        each, between = self.machines.devices_per_node, self.machines.between
        sharing = np.maximum(np.minimum(ranks, each), min(between.cards, each))
        return self._outer_latency[1] + size * sharing / between.bytes_per_second

    @property
    def _inner_latency(self) -> tuple[float, float]:
        return self.machines.inside.alpha0, self.machines.inside.alpha1

    @property
    def _outer_latency(self) -> tuple[float, float]:
        return self.machines.between.alpha0, self.machines.between.alpha1

    def _inner_rate(self, ranks: Numbers) -> Column:
        sizes = np.unique(ranks)
        rates = np.array([self.machines.inside.among(int(size)) for size in sizes])
        return rates[np.searchsorted(sizes, ranks)]

    @property
    def _outer_rate(self) -> float:
        return self.machines.between.bytes_per_second / self.machines.devices_per_node

    @staticmethod
    def _ring(size: Column, ranks: Column | Numbers, rate: Column | float, first: float, each: float) -> Column:
        steps = np.minimum(ranks - 1, 2 * np.log2(np.maximum(ranks, 2)))  # a tree where a ring has too many steps
        return np.where(ranks > 1, first + steps * each + (ranks - 1) / ranks * size / rate, 0.0)

"""Links between ranks: what each collective was measured to cost, and the one formula for it.

    t = alpha0 + steps · alpha1 + wire bytes / bandwidth          payload S: the whole tensor, as the recorder counts it

    kind                          steps      wire bytes
    all_reduce, … in place        2 (n-1)    2 (n-1)/n · S        S: the tensor on every rank
    reduce_scatter, all_gather      n-1        (n-1)/n · S        S: input of the one, output of the other
    send, exchange                  1                    S        exchange: S each way at once, as a pipeline does

A link that is shaped lets a `burst` of bytes pass at once after a pause in which as many could have gone: a message
then takes so much less of the bandwidth's time.

In place: of a buffer in the wire's own memory, as gradients are; elsewhere the same as any other. Ring algorithms
(planning.md, "Collectives"). It knows numbers, not the wire (`collectives`), which is timed by `collectives.links`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

__all__ = [
    "RECEIVES_AHEAD",
    "Count",
    "Delay",
    "Link",
    "LinkKind",
    "LinkSpeed",
    "NotNegative",
    "Overlap",
    "Positive",
    "Rate",
    "Transfer",
    "link_steps",
    "wire_bytes",
]

# Backends on which a receive that is started long before it is needed goes on by itself, and holds nothing else up. In
# two levels it is what carries the one message: gloo to another host, shared memory to the same.
RECEIVES_AHEAD = frozenset({"gloo"})

LinkKind = Literal["all_reduce", "all_reduce_in_place", "reduce_scatter", "all_gather", "send", "exchange"]

# What a file of measurements may hold; pydantic reads these at the border, inside they are documentation. What lies
# outside was measured of nothing, and whoever computes with it ends at infinity: rates are in FLOP/s or bytes/s,
# `Positive` are seconds and ratios.
Count = Annotated[int, Field(ge=1, le=2**60)]
Rate = Annotated[float, Field(ge=1.0, le=1e18, allow_inf_nan=False)]
Positive = Annotated[float, Field(ge=1e-12, le=1e6, allow_inf_nan=False)]
Delay = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=1e18, allow_inf_nan=False)]


def link_steps(kind: LinkKind, ranks: int) -> int:
    """Messages that follow one another."""
    match kind:
        case "all_reduce" | "all_reduce_in_place":
            return 2 * (ranks - 1)
        case "reduce_scatter" | "all_gather":
            return ranks - 1
        case "send" | "exchange":
            return 1


def wire_bytes(kind: LinkKind, ranks: int, payload: float) -> float:
    """Bytes that each rank sends, for a payload of that many."""
    return payload if kind in ("send", "exchange") else link_steps(kind, ranks) * payload / ranks


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """One measured point of a link: a logical payload (the whole tensor, on each rank) and its time."""

    bytes: Count
    seconds: Positive


@dataclass(frozen=True, kw_only=True)
class Link:
    """One collective between `ranks` ranks of one backend on `hosts` hosts, by the formula above; alpha0 and alpha1 in
    seconds. Between several hosts a send or an exchange is between ranks of different ones.

    `error` is the median of |formula / measured - 1| over `transfers`, which keep what was measured. `hosts`: on how
    many the ranks stood, equally many on each. `burst`: bytes that a host's link lets pass at once. `overhead`: seconds
    that a rank computes longer for each message between hosts, however small it is and however well it hides: starting
    it, threads that wake for it, caches that they leave cold (o of LogP, Culler et al. 1993).
    """

    backend: str
    kind: LinkKind
    ranks: Count
    alpha0: Delay
    alpha1: Delay
    bytes_per_second: Rate
    error: NotNegative = 0.0
    transfers: tuple[Transfer, ...] = ()
    hosts: Count = 1
    burst: NotNegative = 0.0
    overhead: Delay = 0.0

    def seconds(self, payload: float) -> float:
        """The time that the formula gives a payload of that many bytes."""
        latency = self.alpha0 + link_steps(self.kind, self.ranks) * self.alpha1
        return latency + wire_bytes(self.kind, self.ranks, payload) / self.bytes_per_second

    def times_as_fast(self, factor: float) -> Link:
        """A link with so many times the bandwidth, and the latency divided by as much. Its `burst` is of bytes and its
        `overhead` the processor's: both stay."""
        return replace(
            self,
            alpha0=self.alpha0 / factor,
            alpha1=self.alpha1 / factor,
            bytes_per_second=self.bytes_per_second * factor,
            transfers=tuple(Transfer(bytes=one.bytes, seconds=one.seconds / factor) for one in self.transfers),
        )


@dataclass(frozen=True, kw_only=True)
class LinkSpeed:
    """What joins two hosts: `alpha` seconds until a message begins to arrive, and then so many bytes per second, in
    each direction at once."""

    alpha: Positive
    bytes_per_second: Rate

    def times_as_fast(self, factor: float) -> LinkSpeed:
        """The same, as of a `Link`."""
        return LinkSpeed(alpha=self.alpha / factor, bytes_per_second=self.bytes_per_second * factor)


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """All-reduces behind compute that is long enough: `exposed` is the part of their time that still lengthens it,
    beyond what each message's `overhead` does.

    0: compute hides them wholly. 1: nothing is gained, for who moves the bytes takes the core from who computes.
    """

    backend: str
    ranks: Count
    exposed: NotNegative
    hosts: Count = 1

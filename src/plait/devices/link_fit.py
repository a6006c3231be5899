"""From measured transfers to a link's three numbers: t = alpha0 + steps · alpha1 + wire bytes / bandwidth.

The fit is relative (a microsecond's error on a small message weighs as much as a millisecond's on a large one), by
least squares, and no number may be negative: of all ways to leave terms out, the best whose rest is not negative.
Where every sample has the same number of steps, alpha0 takes all of the latency. It is pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plait.specs.links import Link, LinkKind, Transfer, link_steps, wire_bytes

__all__ = ["Sample", "fit_link", "fit_samples"]

_LEAST_SHARE = 1e-3  # of the largest transfer's time is spent on its bytes, so that no bandwidth is infinite

_Terms = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One measured time, in seconds."""

    steps: int
    wire_bytes: float
    seconds: float


def fit_link(
    backend: str, kind: LinkKind, ranks: int, transfers: Sequence[Transfer], *, alone: float | None = None
) -> Link:
    """The link that explains `transfers` best. `alone`: the same call in a group of one rank, that is of no steps.

    It tells alpha0 from alpha1, which one number of ranks never does.
    """
    samples = [
        Sample(
            steps=link_steps(kind, ranks), wire_bytes=wire_bytes(kind, ranks, transfer.bytes), seconds=transfer.seconds
        )
        for transfer in transfers
    ]
    extra = [] if alone is None else [Sample(steps=0, wire_bytes=0.0, seconds=alone)]
    alpha0, alpha1, bandwidth = fit_samples([*samples, *extra])
    errors = [
        abs((alpha0 + sample.steps * alpha1 + sample.wire_bytes / bandwidth) / sample.seconds - 1) for sample in samples
    ]
    return Link(
        backend=backend,
        kind=kind,
        ranks=ranks,
        alpha0=alpha0,
        alpha1=alpha1,
        bytes_per_second=bandwidth,
        error=float(np.median(errors)),
        transfers=tuple(transfers),
    )


def fit_samples(samples: Sequence[Sample]) -> _Terms:
    """alpha0, alpha1 in seconds and the bandwidth in bytes a second, none negative; ValueError if no bytes are sent."""
    largest = max(samples, key=lambda sample: sample.wire_bytes, default=None)
    if largest is None or largest.wire_bytes <= 0:
        raise ValueError("a bandwidth can't be fitted to transfers that send no bytes")
    rows = np.array([[1.0, sample.steps, sample.wire_bytes] for sample in samples])
    rows /= np.array([[sample.seconds] for sample in samples])
    scales = np.maximum(np.abs(rows).max(axis=0), 1e-300)  # lstsq drops what looks small beside the rest
    alpha0, alpha1, inverse = _least_squares(rows / scales) / scales
    least = _LEAST_SHARE * largest.seconds / largest.wire_bytes
    return float(alpha0), float(alpha1), float(1 / max(inverse, least))


def _least_squares(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The x ≥ 0 that brings rows · x nearest to ones: three terms have seven supports, so that each can be tried."""
    best, least = np.zeros(rows.shape[1]), np.inf
    for count in range(1, rows.shape[1] + 1):
        for support in itertools.combinations(range(rows.shape[1]), count):
            found = np.zeros(rows.shape[1])
            found[list(support)] = np.linalg.lstsq(rows[:, support], np.ones(len(rows)), rcond=None)[0]
            residual = float(np.square(rows @ found - 1).sum())
            # one that is as good with more terms is no better
            if (found >= 0).all() and residual < least * (1 - 1e-9) - 1e-18:
                best, least = found, residual
    return best

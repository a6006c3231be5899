"""The portions of steps that one rank is given, as long as there are any, with what it waited for each."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

from plait.parallel.parameter_server import ParameterServer

__all__ = ["given_out"]


def given_out(server: ParameterServer, limit: int) -> Iterator[tuple[int, float]]:
    """Portions below `limit` and the seconds in which they, and the weights that they begin with, were waited for; each
    has to be pushed before the next is asked for. Raises PeerLost."""
    while True:
        start = perf_counter()
        portion = server.take(limit)
        if portion is None:
            return
        yield portion, perf_counter() - start

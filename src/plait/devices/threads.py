"""How many threads an operation is shared out to, on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["one_thread"]


@contextmanager
def one_thread(enabled: bool = True) -> Iterator[None]:
    """Within, compute without helpers, as a rank does that shares its cores with others; `enabled` False: as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if enabled else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

"""Bytes of any length in torchrun's store, which takes 8 MiB at once: in parts, all there as soon as their count is.

It knows the store, and not what the bytes mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store  # torch.distributed has it too, but does not type it

__all__ = ["drop", "put", "take"]

_PART = 1 << 20  # bytes


def put(store: Store, key: str, data: bytes) -> None:
    """Leave `data` there; whoever finds `key` finds all of it."""
    starts = range(0, len(data), _PART)
    for part, start in enumerate(starts):
        store.set(f"{key}/{part}", data[start : start + _PART])  # pyright: ignore[reportArgumentType]  # takes bytes
    store.set(key, str(len(starts)))


def take(store: Store, key: str) -> bytes:
    """What was left; waits for it as long as the store does, and raises what that raises then."""
    return b"".join([store.get(part) for part in _parts(store, key)])


def drop(store: Store, key: str) -> None:
    """Forget what was left there."""
    for part in (*_parts(store, key), key):
        store.delete_key(part)


def _parts(store: Store, key: str) -> list[str]:
    return [f"{key}/{part}" for part in range(int(store.get(key)))]

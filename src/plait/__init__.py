"""Plait plans, proves, runs and serves hybrid-parallel language models.

The names below come from their rooms on first use: importing plait costs nothing, and `plait.check` no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plait.api import check, load, plan, train, verify
    from plait.parallel.apply import parallelize

_ROOM = {
    "check": "plait.api",
    "load": "plait.api",
    "parallelize": "plait.parallel.apply",
    "plan": "plait.api",
    "train": "plait.api",
    "verify": "plait.api",
}

__all__ = ["check", "load", "parallelize", "plan", "train", "verify"]


def __getattr__(name: str) -> Any:
    if name == "defects":  # a room of its own, for tests
        return import_module("plait.defects")
    if name not in _ROOM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ROOM[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Plait plans, proves, runs and serves hybrid-parallel language models.

The names below come from `plait.api` on first use: importing plait costs nothing, and `plait.check` no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plait.api import check, load

__all__ = ["check", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("plait.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

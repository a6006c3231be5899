"""Documents as JSON can hold them. It knows values, not what they say."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, cast

__all__ = ["finite"]


def finite(value: Any) -> Any:
    """The value as JSON can hold it: null for every number that is not finite."""
    match value:
        case float() if not isfinite(value):
            return None
        case Mapping():
            return {key: finite(item) for key, item in cast("Mapping[Any, Any]", value).items()}
        case list() | tuple():
            return [finite(item) for item in cast("list[Any]", value)]
        case _:
            return value

"""Values as bytes, and back, without pickle: what ranks of several hosts send each other that is more than JSON.

    8 bytes: length of what follows │ JSON, numpy arrays by their number │ the arrays, one behind the other

Plain values, lists, tuples, dicts with any keys, frozensets, arrays; and data classes and named tuples, but of a list
that the caller closes: nothing else can come out. It knows neither ranks nor stores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["packed", "unpacked"]

_PLAIN = (bool, int, float, str, type(None))
_HEAD = 8


def packed(value: object, classes: Sequence[type]) -> bytes:
    """`value` as bytes. Raises TypeError for a value, or a part of one, of a class that is not among `classes`."""
    arrays: list[np.ndarray[Any, Any]] = []
    told = json.dumps(_told(value, {one: number for number, one in enumerate(classes)}, arrays)).encode()
    return b"".join([len(told).to_bytes(_HEAD, "little"), told, *(array.tobytes() for array in arrays)])


def unpacked(data: bytes, classes: Sequence[type]) -> Any:
    """The value that `packed` was given, with the same `classes`."""
    start = _HEAD + int.from_bytes(data[:_HEAD], "little")
    return _Reader(data, start, classes).value(json.loads(data[_HEAD:start]))


def _told(value: Any, numbers: Mapping[type, int], arrays: list[np.ndarray[Any, Any]]) -> Any:
    """What JSON carries: plain values as they are, all else as a list that begins with its kind."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind in numbers:
        parts = [getattr(value, field.name) for field in fields(value)] if is_dataclass(value) else list(value)
        return [numbers[kind], *(_told(part, numbers, arrays) for part in parts)]
    if isinstance(value, Mapping):
        pairs = [[_told(key, numbers, arrays), _told(one, numbers, arrays)] for key, one in value.items()]
        return ["dict", *pairs]
    if isinstance(value, list | tuple | frozenset) and kind in (list, tuple, frozenset):
        return [kind.__name__, *(_told(part, numbers, arrays) for part in value)]
    return _told_of_numpy(value, numbers, arrays)


def _told_of_numpy(value: Any, numbers: Mapping[type, int], arrays: list[np.ndarray[Any, Any]]) -> Any:
    import numpy as np  # what asks whether a job is legal imports this room, and needs none

    if isinstance(value, np.generic):
        return _told(value.item(), numbers, arrays)
    if not isinstance(value, np.ndarray) or value.dtype.hasobject:
        raise TypeError(f"a {type(value).__qualname__} is not among what ranks of several hosts send each other")
    arrays.append(value)
    return ["array", value.dtype.str, list(value.shape)]


class _Reader:
    """Takes arrays from `data` in the order in which they are named."""

    def __init__(self, data: bytes, start: int, classes: Sequence[type]) -> None:
        self._data, self._at, self._classes = data, start, classes

    def value(self, told: Any) -> Any:
        if not isinstance(told, list):
            return told
        kind, *parts = told
        match kind:
            case "array":
                return self._array(*parts)
            case "dict":
                return {self.value(key): self.value(one) for key, one in parts}
            case "list":
                return [self.value(part) for part in parts]
            case "tuple":
                return tuple(self.value(part) for part in parts)
            case "frozenset":
                return frozenset(self.value(part) for part in parts)
            case _:
                return self._made(self._classes[kind], [self.value(part) for part in parts])

    def _made(self, of: type, parts: list[Any]) -> Any:
        if is_dataclass(of):
            return of(**dict(zip((field.name for field in fields(of)), parts, strict=True)))
        return of(*parts)

    def _array(self, dtype: str, shape: list[int]) -> np.ndarray[Any, Any]:
        import numpy as np

        kind = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64))
        flat = np.frombuffer(self._data, kind, count, self._at)
        self._at += count * kind.itemsize
        return flat.reshape(shape).copy()

"""Values as bytes: what comes out is what went in, of the same types; nothing but the classes that were listed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

from plait.launchers.parcel import packed, unpacked


class Place(NamedTuple):
    step: int
    name: str


@dataclass(frozen=True, kw_only=True)
class Found:
    arrays: dict[Place, Any]
    names: frozenset[str] = frozenset()


CLASSES = (Place, Found)
VALUES = [
    None, True, 3, -0.0, float("inf"), "é", [], (), [1, (2.5, [None])], {}, {("a", 1): {2: "b"}},
    frozenset({"x"}), Place(1, "w"), {"list": ["dict", "array"]}, np.float64(0.1),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back(value: Any) -> None:
    found = unpacked(packed(value, CLASSES), CLASSES)
    assert found == value
    assert repr(found) == repr(value.item() if isinstance(value, np.generic) else value)


@pytest.mark.parametrize(
    "array",
    [np.arange(6.0).reshape(2, 3).T, np.array(3.5, dtype=np.float32), np.empty((0, 4)), np.array([True, False])],
    ids=["transposed", "a number", "empty", "booleans"],
)
def test_an_array_comes_back_to_the_bit(array: Any) -> None:
    value = Found(
        arrays={Place(1, "a"): array, Place(2, "b"): array[::-1] if array.ndim else array}, names=frozenset({"a"})
    )
    found = unpacked(packed(value, CLASSES), CLASSES)
    assert found.names == value.names
    for place, expected in value.arrays.items():
        assert (found.arrays[place].dtype, found.arrays[place].shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found.arrays[place], expected)
        found.arrays[place][...] = 0  # one's own


@pytest.mark.parametrize("value", [object(), np.array([object()]), Exception("x"), {"a": lambda: 1}], ids=str)
def test_nothing_else_is_packed(value: Any) -> None:
    with pytest.raises(TypeError, match="is not among what ranks of several hosts send each other"):
        packed(value, CLASSES)
    with pytest.raises(TypeError, match="Found is not among"):
        packed(Found(arrays={}), [Place])

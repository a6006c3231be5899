"""The fields of a configuration that a stranger wrote, each asked for by name and kind; a wrong one is told by name.

It knows no kind of model: which field means what is said by who asks (`huggingface`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from plait.specs.wording import kind_of, shown

__all__ = ["Config", "Unreadable"]

_LARGEST, _DEEPEST = 2**50, 2**16  # as a job's own numbers
_INFINITE = 1e300
_ABSENT: Any = object()


class Unreadable(Exception):
    """What is wrong with a configuration, in words."""


class Config:
    """A configuration's fields. Each reader raises Unreadable, with the field's name, for what it can't take.

    `notes`: what a shape doesn't say of it, in words that can follow "left alone: "; those that end with "counted …" or
    "not counted" in brackets make a difference of weights.
    """

    def __init__(self, fields: Mapping[str, Any], notes: list[str] | None = None) -> None:
        """Read from these fields; one that is null counts as left out. Notes are added to the list that is given."""
        self._fields = fields
        self._asked: set[str] = set()
        self.notes: list[str] = [] if notes is None else notes

    def count(self, name: str, default: int = _ABSENT, *, least: int = 1, most: int = _LARGEST) -> int:
        """A whole number in these bounds."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise Unreadable(f"{name} = {shown(value)} is no whole number from {least} to {most}")
        return value

    def depth(self, name: str, default: int = _ABSENT, *, least: int = 1) -> int:
        """A number of layers, heads or experts."""
        return self.count(name, default, least=least, most=_DEEPEST)

    def maybe(self, name: str) -> int | None:
        """A whole number from 1, or None where the field is left out."""
        return self.count(name) if self.has(name) else None

    def has(self, name: str) -> bool:
        """Whether the field is there."""
        return self._get(name) is not None

    def number(self, name: str, default: float) -> float:
        """A number above 0."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _INFINITE:
            raise Unreadable(f"{name} = {shown(value)} is no number above 0")
        return float(value)

    def switch(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise Unreadable(f"{name} = {shown(value)} is neither true nor false")
        return value

    def word(self, name: str, default: str, known: Mapping[str, Any]) -> Any:
        """What a word stands for, of those that are known."""
        value = self._value(name, default)
        if not isinstance(value, str) or value not in known:
            raise Unreadable(f"{name} = {shown(value)} is not known here; known are {', '.join(known)}")
        return known[value]

    def part(self, name: str) -> Config:
        """A table inside; empty where there is none."""
        value = self._value(name, {})
        if not isinstance(value, dict):
            raise Unreadable(f"{name} = {shown(value)} is {kind_of(value)} in place of a table")
        return Config(cast("dict[str, Any]", value), self.notes)

    def places(self, name: str, most: int) -> tuple[int, ...]:
        """A list of numbers of blocks; empty where there is none."""
        value = self._value(name, [])
        numbers = cast("list[Any]", value) if isinstance(value, list) else []
        whole = [one for one in numbers if isinstance(one, int) and not isinstance(one, bool) and 0 <= one < most]
        if not isinstance(value, list) or len(whole) < len(numbers):
            words = shown(cast("object", value))
            raise Unreadable(f"{name} = {words} is no list of whole numbers from 0 to {most - 1}")
        return tuple(sorted(set(whole)))

    def kinds(self, name: str) -> set[object]:
        """The values of a list that says something of each block; empty where there is none."""
        value = self._value(name, [])
        if not isinstance(value, list):
            raise Unreadable(f"{name} = {shown(value)} is {kind_of(value)} in place of a list")
        return {one if isinstance(one, str | int) else shown(one) for one in cast("list[object]", value)}

    def said(self, *names: str) -> str:
        """The first of several names of one field that stands there; the first of all if none does."""
        return next((name for name in names if self.has(name)), names[0])

    def only(self, name: str, value: object) -> None:
        """Refuse a field that has another value than the one whose shape is known."""
        given = self._get(name)
        if given is not None and given != value:
            raise Unreadable(f"{name} = {shown(given)} is a shape that Plait has no words for; {shown(value)} it has")

    def leave(self, name: str, value: object = None, *, usual: object = None, why: str = "") -> None:
        """Leave a field alone, and note it where it has another value than the one whose shape is known. `usual`: what
        it is where it is left out, though not where it is null."""
        given = self._fields.get(name, usual)
        self._asked.add(name)
        if given is not None and given != value:
            self.notes.append(f"{name} = {shown(given)}{why}")

    def with_usual(self, **usual: object) -> Config:
        """The same fields, and those of these that it leaves out."""
        return Config({**self._fields, **{name: one for name, one in usual.items() if not self.has(name)}}, self.notes)

    def unasked(self) -> dict[str, Any]:
        """The fields that say something and that nobody has asked for."""
        return {name: value for name, value in self._fields.items() if name not in self._asked and _says(value)}

    def _get(self, name: str) -> Any:
        self._asked.add(name)
        return self._fields.get(name)

    def _value(self, name: str, default: Any) -> Any:
        value = self._get(name)
        if value is None and default is _ABSENT:
            raise Unreadable(f"{name} is missing")
        return default if value is None else value


def _says(value: object) -> bool:
    return value is not None and value is not False and value not in ([], {}, "")

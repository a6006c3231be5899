"""How a refused key or value is spoken of: shown as it stood in the file, beside the nearest known word.

It knows words only, no rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import Any, cast

__all__ = ["counted", "cut", "kind_of", "nearest", "ranks_named", "shown", "visible"]

_LONGEST = 60  # characters of a value that are shown
_KINDS: dict[type, str] = {
    bool: "a truth value",
    int: "a whole number",
    float: "a number with a point",
    str: "a text",
    list: "a list",
    dict: "a table",
}
# what a terminal obeys, a line breaks at, or nobody sees: control characters, marks that turn the direction of writing
# or take no room, and halves of characters, which stand for bytes that are no text
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\ufeff\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"\n": r"\n", "\t": r"\t", "\r": r"\r"}
_BITS = 128  # past this, an integer is described rather than written


def nearest(word: str, known: Iterable[str], count: int = 1, least: float = 0.0) -> tuple[str, ...]:
    """The `count` known words that look most like `word`, best first: those that begin with it, those that contain it,
    and by what they share (Ratcliff and Obershelp's ratio). Fewer where fewer are known, or are at `least` so alike."""
    ratios = {one: SequenceMatcher(None, one, word).ratio() for one in sorted(known)}
    alike = [one for one, ratio in ratios.items() if word in one or ratio >= least]
    return tuple(sorted(alike, key=lambda one: (not one.startswith(word), word not in one, -ratios[one]))[:count])


def counted(number: int, name: str, ending: str = "s") -> str:
    """A number of things, and how their plural ends: "1 rank", "2 ranks"."""
    return f"{number} {name}" if number == 1 else f"{number} {name}{ending}"


def ranks_named(first: int, count: int) -> str:
    """So many ranks from the first on: "rank 3", "ranks 4–7"."""
    return f"rank {first}" if count == 1 else f"ranks {first}–{first + count - 1}"


def shown(value: object) -> str:
    """A value as TOML writes it, cut where it is long."""
    return cut(_written(value))


def cut(text: str, longest: int = _LONGEST) -> str:
    """The text, shortened where it is long."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def visible(text: str) -> str:
    """The text as one line in which everything can be seen: what a terminal would obey stands there as TOML writes it,
    `\\u001B`."""
    return _UNSEEN.sub(lambda found: _SHORT.get(found[0], f"\\u{ord(found[0]):04X}"), text)


def kind_of(value: object) -> str:
    """What sort of TOML value it is: "a text", "a list"."""
    for kind, words in _KINDS.items():
        if isinstance(value, kind):
            return words
    return f"a {type(cast('Any', value)).__name__}"  # TOML's dates and times are called what Python calls them


def _written(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{visible(value)}"'
        case int() if value.bit_length() > _BITS:
            return f"an integer of {value.bit_length()} bits"
        case list() | tuple():
            items = cast("Sequence[object]", value)
            more = ", …" if len(items) > _LONGEST else ""
            return f"[{', '.join(_written(item) for item in items[:_LONGEST])}{more}]"
        case dict():
            return "a table"
        case _:
            return str(value)

"""HTML and SVG as values: whatever is not already markup is escaped, so that no name or sample can become code.

    element("text", name, x=4, class_="label")  ->  <text x="4" class="label">a &lt; b</text>
                    └ a str is escaped, a Markup is taken as it is; every attribute is escaped

It knows how to write markup down, the same way every time, and nothing about what is drawn.
"""

from __future__ import annotations

import re
from html import escape

__all__ = ["Attribute", "Content", "Markup", "element", "fragment", "number", "text"]

Attribute = str | float | None

_VOID = frozenset({"meta", "link", "br"})  # HTML's elements that never have content
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")  # no document may hold these


class Markup(str):
    """A piece of a document. Only this module makes one of what a user wrote, by escaping it."""

    __slots__ = ()


Content = str | Markup


def text(words: Content) -> Markup:
    """Words as markup; characters that no document may hold become the replacement character."""
    if isinstance(words, Markup):
        return words
    return Markup(escape(_printable(words), quote=False))


def element(tag: str, *children: Content, **attributes: Attribute) -> Markup:
    """One element. `class_` is written class, `stroke_width` stroke-width; None is left out."""
    opening = tag + "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in _VOID:
        return Markup(f"<{opening}>")
    return Markup(f"<{opening}>{fragment(*children)}</{tag}>")


def fragment(*children: Content, between: str = "") -> Markup:
    """Several pieces, one after another."""
    return Markup(between.join(text(child) for child in children))


def number(value: float) -> str:
    """A coordinate in at most two decimals: `number(12.0) == "12"`, `number(-0.001) == "0"`."""
    written = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if written == "-0" else written


def _attribute(name: str, value: Attribute) -> str:
    written = name.rstrip("_").replace("_", "-")
    if value is None:
        return ""
    words = value if isinstance(value, str) else number(value)
    return f' {written}="{escape(_printable(words))}"'


def _printable(words: str) -> str:
    return _UNPRINTABLE.sub("\ufffd", words)

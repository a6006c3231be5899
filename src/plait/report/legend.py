"""The legend under a picture: a swatch and a name for every meaning that occurs in it, with a figure where one helps.

It knows the names of meanings, whose colours stand in the palette.
"""

from __future__ import annotations

from collections.abc import Iterable

from plait.report.markup import Markup, element

__all__ = ["legend"]


def legend(entries: Iterable[tuple[str, str, str]], note: str = "") -> Markup:
    """`entries` are (class of the swatch, name, figure); the figure and the note may be empty."""
    items = [_entry(kind, name, figure) for kind, name, figure in entries]
    if note:
        items.append(element("li", note, class_="note"))
    return element("ul", *items, class_="legend")


def _entry(kind: str, name: str, figure: str) -> Markup:
    swatch = element("i", class_=f"swatch {kind}")
    return element("li", swatch, element("span", name), element("b", figure) if figure else "")

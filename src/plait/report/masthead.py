"""The head of any page: the brand and the date, a name, facts in a line, one sentence, and tiles of a figure each.

It knows their form, not what they say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from plait.report.braid import braid
from plait.report.data import Machine
from plait.report.figures import size
from plait.report.markup import Markup, element, fragment

__all__ = ["machine_facts", "masthead", "tile"]


def masthead(name: str, date: str, facts: Sequence[str], said: str, tiles: Iterable[Markup]) -> Markup:
    """All of it; what is empty is left out."""
    brand = element("div", braid(4, 38.0, 26.0, 4.2), element("span", "Plait", class_="wordmark"), class_="brand")
    when = element("time", date) if date else ""
    return element(
        "header",
        element("div", brand, when, class_="masthead"),
        element("h1", name),
        element("p", fragment(*(element("span", fact) for fact in facts), between=" "), class_="facts")
        if facts
        else "",
        element("p", said, class_="promise") if said else "",
        element("div", *tiles, class_="tiles"),
    )


def machine_facts(machine: Machine | None) -> Iterator[str]:
    """What it ran on."""
    if machine is None:
        return
    yield machine.processor
    yield f"{machine.cores} core" + ("" if machine.cores == 1 else "s")
    if machine.memory_bytes:
        yield f"{size(machine.memory_bytes)} of memory"


def tile(name: str, figure: str, below: str, drawing: Markup | str = "", class_: str = "") -> Markup:
    """A figure, its name above and what it means below."""
    parts = [element("h3", name), element("b", figure), element("span", below), drawing]
    return element("div", *parts, class_=f"tile {class_}".strip())

"""Reading a page back: a tree of its elements that refuses what is not balanced, and where everything drawn stands.

It knows HTML and the shapes of SVG, not what a report says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

__all__ = ["Element", "assert_all_inside", "parse", "rectangles"]

VOID = {"meta", "link", "br"}
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass
class Element:
    """An element with what stands in it; `text` is its own and its children's, in order."""

    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    words: list[str | Element] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(part if isinstance(part, str) else part.text for part in self.words)

    @property
    def classes(self) -> set[str]:
        return set((self.attributes.get("class") or "").split())

    def walk(self) -> Iterator[Element]:
        yield self
        for child in self.children:
            yield from child.walk()

    def all(self, tag: str, *classes: str) -> list[Element]:
        return [one for one in self.walk() if one.tag == tag and set(classes) <= one.classes]

    def one(self, tag: str, *classes: str) -> Element:
        (found,) = self.all(tag, *classes)
        return found

    def number(self, attribute: str) -> float:
        return float(self.attributes[attribute])


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("document", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> says {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        self.open[-1].words.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].words.append(data)


def parse(html: str) -> Element:
    """The tree of a page or of a piece of one; AssertionError where an element is not closed in its turn."""
    builder = _Builder()
    builder.feed(html)
    builder.close()
    assert len(builder.open) == 1, f"never closed: {[element.tag for element in builder.open[1:]]}"
    return builder.open[0]


def rectangles(tree: Element, *classes: str) -> list[tuple[float, float, float, float]]:
    """(x, y, width, height) of each rectangle with these classes."""
    found = tree.all("rect", *classes)
    return [(r.number("x"), r.number("y"), r.number("width"), r.number("height")) for r in found]


def assert_all_inside(tree: Element, slack: float = 0.02) -> None:
    """Every corner of every shape stands inside the viewBox of its picture; coordinates are rounded to 0.01."""
    pictures = [svg for svg in tree.all("svg") if not svg.all("pattern")]
    for svg in pictures:
        _, _, width, height = map(float, svg.attributes["viewbox"].split())
        for shape in svg.walk():
            for x, y in _corners(shape):
                inside = -slack <= x <= width + slack and -slack <= y <= height + slack
                assert inside, f"({x}, {y}) of {shape.tag} {shape.attributes} lies outside {width} x {height}"


def _corners(shape: Element) -> Iterator[tuple[float, float]]:
    if shape.tag == "rect":
        x, y = shape.number("x"), shape.number("y")
        yield (x, y)
        yield (x + shape.number("width"), y + shape.number("height"))
    elif shape.tag == "line":
        yield (shape.number("x1"), shape.number("y1"))
        yield (shape.number("x2"), shape.number("y2"))
    elif shape.tag == "circle":
        yield (shape.number("cx"), shape.number("cy"))
    elif shape.tag == "text":
        yield (shape.number("x"), shape.number("y"))
    elif shape.tag == "path" and "strand" not in shape.classes and "casing" not in shape.classes:
        numbers = [float(found) for found in NUMBER.findall(shape.attributes["d"])]
        yield from zip(numbers[::2], numbers[1::2], strict=True)

"""Drawing primitives: a scale from values to coordinates, round ticks, and the few shapes that all pictures share.

    value   low ────────────────── high
              │        Scale        │        what lies outside is drawn at the edge, so that nothing leaves the picture
    pixels  start ──────────────── end

It knows geometry, no meaning: colours come as the names of classes, numbers as coordinates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from plait.report.figures import Unit
from plait.report.markup import Attribute, Content, Markup, element, fragment, number

__all__ = ["Point", "Scale", "axis", "line", "path", "picture", "rectangle", "ticks", "words"]

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Where a value stands: `low` at coordinate `start`, `high` at `end`. An empty range puts everything at `start`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        if not self.high > self.low:
            return self.start
        # in this order, so that a share that is not a number counts as 0
        share = min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """At most `most` round values (1, 2 or 5 times a power of ten apart) inside [low, high], and never none."""
    span = high - low
    if not isfinite(span) or span <= 0 or span < 1e-12 * max(abs(low), abs(high)):
        return (low,)
    power = 10.0 ** floor(log10(span / most))
    steps = (power * factor for factor in (1, 2, 5, 10, 20))
    found = (tuple(step * i for i in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)) for step in steps)
    return next((values for values in found if 0 < len(values) <= most), (low,))


def picture(width: float, height: float, label: str, *children: Content, class_: str = "") -> Markup:
    """An SVG that scales with the page; `label` says in a sentence what is to be seen."""
    box = f"0 0 {number(width)} {number(height)}"
    return element("svg", *children, viewBox=box, role="img", aria_label=label, class_=class_ or None)


def axis(scale: Scale, unit: Unit, top: float, bottom: float, most: int = 10) -> Markup:
    """A horizontal axis under a picture that reaches from `top` to `bottom`: thin upright lines, named in `unit`."""
    factor, name = unit
    marks: list[Markup] = []
    for value in ticks(scale.low / factor, scale.high / factor, most):
        x = scale(value * factor)
        marks.append(line((x, top), (x, bottom), class_="grid"))
        marks.append(words((x, bottom + 16), f"{value:.6g} {name}", anchor="middle", class_="tick"))
    return fragment(*marks)


def rectangle(x: float, y: float, width: float, height: float, **attributes: Attribute) -> Markup:
    """A rectangle; never of negative width."""
    return element("rect", x=x, y=y, width=max(0.0, width), height=height, **attributes)


def line(start: Point, end: Point, **attributes: Attribute) -> Markup:
    """A straight line."""
    return element("line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], **attributes)


def path(points: Sequence[Point], close: Iterable[Point] = (), **attributes: Attribute) -> Markup:
    """A line through `points`; with `close`, the area between it and those."""
    corners = [*points, *close]
    steps = " ".join(f"{number(x)} {number(y)}" for x, y in corners)
    return element("path", d=f"M{steps}" + ("Z" if len(corners) > len(points) else ""), **attributes)


def words(at: Point, content: Content, **attributes: Attribute) -> Markup:
    """Text with its baseline at a point; `anchor` is start, middle or end."""
    anchor = attributes.pop("anchor", None)
    return element("text", fragment(content), x=at[0], y=at[1], text_anchor=anchor, **attributes)

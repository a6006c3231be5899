"""Where the seconds of a step go: its terms as one stacked bar a side, predicted over measured.

    predicted  [compute            ][bubble   ][data][opt]
    measured   [compute              ][bubble     ][data  ][opt][not named]
                                                                └ what the measured terms leave out

It knows terms and seconds; the table of the same numbers stands in `comparison`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from plait.plans.prediction import Terms
from plait.report.comparison import term_name, term_seconds
from plait.report.figures import second_unit, seconds
from plait.report.legend import legend
from plait.report.markup import Markup, element, fragment
from plait.report.svg import Scale, axis, picture, rectangle, words
from plait.sharding.mesh_shape import AXES

__all__ = ["share_bars", "stacked", "terms_legend"]

_WIDTH, _LEFT, _RIGHT, _TOP, _HEIGHT = 1060.0, 86.0, 1046.0, 8.0, 30.0
_NARROWEST_LABEL = 56.0  # pixels of a part that can hold "312 ms"
_UNNAMED = "unnamed"
_ORDER = ("compute", "bubble", *AXES, "optimizer", _UNNAMED)


def share_bars(sides: Mapping[str, tuple[float, Terms]]) -> Markup:
    """For each side (seconds a step, terms) a stacked bar: where the seconds go."""
    parts = {side: _parts(step, terms) for side, (step, terms) in sides.items()}
    longest = max((sum(found.values()) for found in parts.values()), default=0.0)
    if not longest > 0:
        return Markup("")
    scale = Scale(low=0.0, high=longest, start=_LEFT, end=_RIGHT)
    bottom = _TOP + len(parts) * (_HEIGHT + 8)
    drawn = [axis(scale, second_unit(longest), _TOP - 4, bottom)]
    for place, (side, found) in enumerate(parts.items()):
        drawn.append(_bar(side, found, _TOP + place * (_HEIGHT + 8), scale))
    label = "Where the seconds of a step go: " + ", ".join(f"{s} {seconds(step)}" for s, (step, _) in sides.items())
    return fragment(picture(_WIDTH, bottom + 26, label, *drawn, class_="shares"), terms_legend(parts.values()))


def _parts(step: float, terms: Terms) -> dict[str, float]:
    found = {kind: amount for kind, amount in term_seconds(terms).items() if amount > 0}
    rest = step - sum(found.values())
    return {**found, _UNNAMED: rest} if rest > 1e-3 * step else found


def terms_legend(bars: Iterable[Mapping[str, float]]) -> Markup:
    """Every term that stands in one of the bars, once."""
    found = {kind for parts in bars for kind in parts}
    named = [kind for kind in _ORDER if kind in found]
    others = sorted(found - set(_ORDER))
    return legend((kind, _name(kind), "") for kind in (*named, *others))


def stacked(parts: Mapping[str, float], scale: Scale, top: float, height: float) -> Markup:
    """The parts of a step, one after another from second 0, each as long as it takes."""
    drawn: list[Markup] = []
    begin = 0.0
    for kind, amount in parts.items():
        left, right = scale(begin), scale(begin + amount)
        tip = f"{_name(kind)}: {seconds(amount)}"
        drawn.append(rectangle(left, top, right - left, height, class_=f"part {kind}", data_tip=tip))
        if right - left > _NARROWEST_LABEL and height > 20:
            at = ((left + right) / 2, top + height / 2 + 4.5)
            drawn.append(words(at, seconds(amount), anchor="middle", class_=f"on {kind}"))
        begin += amount
    return fragment(*drawn)


def _bar(side: str, parts: Mapping[str, float], top: float, scale: Scale) -> Markup:
    name = words((_LEFT - 10, top + _HEIGHT / 2 + 4), side, anchor="end", class_="name")
    return element("g", name, stacked(parts, scale, top, _HEIGHT), class_=side)


def _name(kind: str) -> str:
    return "not named" if kind == _UNNAMED else term_name(kind)

"""What would change the answer: the best step on machines that differ in one thing, beside the one there is.

    as it is             [█████████████|    312 ms
    links twice as fast  [██████████   |    241 ms   −22.8 %   another plan: data 4
    half the memory      [█████████████|██  371 ms   +18.9 %   the same plan

It knows changes and their steps, not how they were found.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.plans.describe import plan_name
from plait.report.figures import seconds, signed_percent, unbroken
from plait.report.markup import Markup, element, fragment
from plait.report.plan_data import Changed
from plait.report.svg import Scale, line, picture, rectangle

__all__ = ["sensitivity"]

_WIDTH, _HEIGHT = 300.0, 22.0
_EQUAL = 0.005  # closer than this is no change


def sensitivity(now: float, changes: Sequence[Changed]) -> Markup:
    """The table; nothing at all without changes. `now`: seconds of the step as things are."""
    if not changes:
        return Markup("")
    longest = max(now, *(one.step_seconds or 0.0 for one in changes))
    scale = Scale(low=0.0, high=longest, start=0.0, end=_WIDTH - 4)
    heads = ("", "best step then", "", "", "by which plan")
    head = element("tr", *(element("th", name, scope="col") for name in heads))
    rows = [_row("as it is", now, now, "", "", scale), *(_changed(one, now, scale) for one in changes)]
    return element("table", element("thead", head), element("tbody", *rows), class_="ranking sensitivity")


def _changed(one: Changed, now: float, scale: Scale) -> Markup:
    if one.step_seconds is None or one.plan is None:
        return _row(one.what, None, now, "", fragment(element("b", "nothing would fit", class_="bad")), scale)
    error = one.step_seconds / now - 1
    difference = signed_percent(error) if abs(error) > _EQUAL else "no change"
    by = "the same plan" if one.same else fragment(element("b", "another: "), unbroken(plan_name(one.plan)))
    return _row(one.what, one.step_seconds, now, difference, by, scale)


def _row(name: str, step: float | None, now: float, difference: str, by: str | Markup, scale: Scale) -> Markup:
    cells = [
        element("th", name, scope="row"),
        element("td", Markup("") if step is None else _drawing(name, step, now, scale)),
        element("td", "–" if step is None else seconds(step), class_="figure"),
        element("td", difference, class_=f"figure {_direction(step, now)}"),
        element("td", by, class_="why"),
    ]
    return element("tr", *cells)


def _direction(step: float | None, now: float) -> str:
    if step is None or abs(step / now - 1) <= _EQUAL:
        return "even"
    return "gain" if step < now else "loss"


def _drawing(name: str, step: float, now: float, scale: Scale) -> Markup:
    """The step as a bar, what it gains or loses beside today's in another shade, and today's as a rule."""
    low, high = sorted((scale(step), scale(now)))
    drawn = [
        rectangle(0, 4, scale(min(step, now)), _HEIGHT - 8, class_="kept"),
        rectangle(low, 4, high - low, _HEIGHT - 8, class_=_direction(step, now)),
        line((scale(now), 1), (scale(now), _HEIGHT - 1), class_="said"),
    ]
    return picture(_WIDTH, _HEIGHT, f"{name}: {seconds(step)} a step, now {seconds(now)}", *drawn)

"""Predicted against measured, a point a plan: on the diagonal the prediction was right.

    measured │      ╱●        above the diagonal it took longer than predicted, below shorter
             │   ●─╱          ─ the predicted interval      │ what the rounds span
             │  ╱ │
             └──────────► predicted

Both axes have one scale, so that the diagonal is one. It knows contenders, not how they ran.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.report.bench_run import Contender
from plait.report.figures import second_unit, seconds, signed_percent
from plait.report.legend import legend
from plait.report.markup import Markup, element, fragment
from plait.report.svg import Scale, line, picture, ticks, words

__all__ = ["scatter"]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 1060.0, 480.0, 86.0, 1046.0, 12.0, 430.0
_MARGIN = 0.06  # of what is drawn, around it
_MOST_NAMED = 24  # points that carry their number


def scatter(plans: Sequence[Contender], worst: Contender | None) -> Markup:
    """The picture and its legend; nothing without plans. `plans` by measured step: their places are their numbers."""
    if not plans:
        return Markup("")
    found = [value for one in plans for value in (one.predicted.step_seconds, *one.repeats)]
    margin = _MARGIN * (max(found) - min(found) or max(found))
    low, high = max(0.0, min(found) - margin), max(found) + margin
    x = Scale(low=low, high=high, start=_LEFT, end=_RIGHT)
    y = Scale(low=low, high=high, start=_BOTTOM, end=_TOP)
    points = [_point(place, one, x, y, one is worst, len(plans)) for place, one in enumerate(plans, 1)]
    diagonal = line((x(low), y(low)), (x(high), y(high)), class_="baseline")
    label = f"Predicted and measured step of {len(plans)} plans; on the diagonal a prediction is right"
    drawn = picture(_WIDTH, _HEIGHT, label, _axes(x, y), diagonal, *points, class_="scatter")
    entries = [("at", "a plan, by its number below", "")]
    entries += [("worst", "the worst predicted", "")] if worst is not None else []
    note = "across: the predicted interval; upright: what the rounds span"
    return fragment(drawn, legend(entries, note))


def _axes(x: Scale, y: Scale) -> Markup:
    factor, unit = second_unit(x.high)
    marks: list[Markup] = []
    for value in ticks(x.low / factor, x.high / factor, most=8):
        across, up = x(value * factor), y(value * factor)
        marks.append(line((across, _TOP), (across, _BOTTOM), class_="grid"))
        marks.append(line((_LEFT, up), (_RIGHT, up), class_="grid"))
        marks.append(words((across, _BOTTOM + 18), f"{value:.6g} {unit}", anchor="middle", class_="tick"))
        marks.append(words((_LEFT - 10, up + 4), f"{value:.6g} {unit}", anchor="end", class_="tick"))
    marks.append(words((_RIGHT, _BOTTOM + 40), "predicted", anchor="end", class_="name"))
    marks.append(words((_LEFT + 8, _TOP + 12), "measured", class_="name"))
    return fragment(*marks)


def _point(place: int, one: Contender, x: Scale, y: Scale, worst: bool, count: int) -> Markup:
    across, up = x(one.predicted.step_seconds), y(one.measured.step_seconds)
    low, high = one.interval
    said = f"predicted {seconds(one.predicted.step_seconds)}, measured {seconds(one.measured.step_seconds)}"
    tip = f"{place}. {one.name}: {said} ({signed_percent(one.error)})"
    marks = [
        line((x(low), up), (x(high), up), class_="said"),
        line((across, y(min(one.repeats))), (across, y(max(one.repeats))), class_="said"),
        element("circle", cx=across, cy=up, r=5.0, class_="at worst" if worst else "at", data_tip=tip),
    ]
    if count <= _MOST_NAMED or worst:
        marks.append(words((across + 8, up - 7), str(place), class_="value"))
    return fragment(*marks)

"""How long each step took, beside the band that the prediction allows: is a steady step what was promised?

    340 ms │    ·                ·
           │· ··  ·· ···· ··· ··  ····     · a step
           │▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒     ▒ the predicted interval
           └──────────────────────────

A few steps that took far longer than the rest (the first ones warm up) stand hollow at the upper edge, so that the
others can be told apart. It knows seconds by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from plait.report.figures import second_unit, seconds
from plait.report.legend import legend
from plait.report.markup import Markup, element, fragment
from plait.report.selection import spread
from plait.report.svg import Scale, line, picture, rectangle, ticks, words

__all__ = ["pace"]

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 1060.0, 86.0, 1046.0, 10.0, 120.0
_MOST_STEPS = 600
_HIGHEST = 1.3  # times what 19 of 20 steps stay below; what lies above stands at the edge


def pace(steps: Sequence[tuple[int, float]], interval: tuple[float, float]) -> Markup:
    """The picture and its legend; nothing with fewer than two measured steps."""
    taken = [(step, spent) for step, spent in steps if isfinite(spent) and spent > 0]
    if len(taken) < 2 or not all(map(isfinite, interval)):
        return Markup("")
    low, high = interval
    usual = sorted(spent for _, spent in taken)[(len(taken) - 1) * 19 // 20]
    top = max(high, min(max(spent for _, spent in taken), _HIGHEST * usual))
    bottom = min(low, *(spent for _, spent in taken))
    margin = 0.1 * (top - bottom) or 0.1 * top
    x = Scale(low=taken[0][0], high=taken[-1][0], start=_LEFT + 4, end=_RIGHT - 4)
    y = Scale(low=bottom - margin, high=top + margin, start=_BOTTOM, end=_TOP)
    band = rectangle(_LEFT, y(high), _RIGHT - _LEFT, y(low) - y(high), class_="allowed")
    shown = [taken[place] for place in spread(len(taken), _MOST_STEPS)]
    dots = [_dot(step, spent, x, y) for step, spent in shown]
    label = f"Seconds of each of {len(taken)} steps beside the predicted interval"
    drawing = picture(_WIDTH, _BOTTOM + 24, label, band, _axes(x, y), *dots, class_="pace")
    entries = [("at", "a measured step", ""), ("allowed", "predicted interval", "")]
    if any(spent > y.high for _, spent in shown):
        entries.insert(1, ("beyond", "one that took even longer", ""))
    return fragment(drawing, legend(entries))


def _axes(x: Scale, y: Scale) -> Markup:
    factor, name = second_unit(y.high)
    marks: list[Markup] = []
    for value in ticks(y.low / factor, y.high / factor, most=4):
        at = y(value * factor)
        marks.append(line((_LEFT, at), (_RIGHT, at), class_="grid"))
        marks.append(words((_LEFT - 10, at + 4), f"{value:.6g} {name}", anchor="end", class_="tick"))
    for value in (step for step in ticks(x.low, x.high, most=9) if step == int(step)):
        marks.append(words((x(value), _BOTTOM + 18), f"{value:,.0f}", anchor="middle", class_="tick"))
    return fragment(*marks)


def _dot(step: int, spent: float, x: Scale, y: Scale) -> Markup:
    tip = f"step {step:,}: {seconds(spent)}"
    kind = "at beyond" if spent > y.high else "at"
    return element("circle", cx=x(step), cy=y(spent), r=2.4, class_=kind, data_tip=tip)

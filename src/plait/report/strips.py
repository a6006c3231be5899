"""Pictures of a line's height, for the main figures: an interval, a gauge, a curve without axes.

    ──(────┼────)──●──       hollow: predicted, with its interval; full: measured
    ▒▒▒▒▒▒▒▒▒▒▒▒▒|           full: measured; the outline: predicted; the rule: the limit

They know numbers to compare, not what those are.
"""

from __future__ import annotations

from plait.report.curve import is_number, smoothed
from plait.report.data import Learning
from plait.report.markup import Markup, element
from plait.report.selection import extremes
from plait.report.svg import Scale, line, path, picture, rectangle

__all__ = ["fill", "gauge", "interval", "spark"]

_WIDTH, _HEIGHT = 200.0, 26.0
_MIDDLE = _HEIGHT / 2


def interval(predicted: tuple[float, float, float], measured: float | None = None) -> Markup:
    """(low, prediction, high) as a hollow band with a tick in it, the measurement as a full dot."""
    low, at, high = predicted
    ends = sorted((low, high, at if measured is None else measured))
    margin = 0.15 * (ends[-1] - ends[0]) or 1.0
    scale = Scale(low=ends[0] - margin, high=ends[-1] + margin, start=2.0, end=_WIDTH - 2)
    drawn = [
        line((2, _MIDDLE), (_WIDTH - 2, _MIDDLE), class_="grid"),
        rectangle(scale(low), _MIDDLE - 6, scale(high) - scale(low), 12, rx=6, class_="band"),
        line((scale(at), _MIDDLE - 9), (scale(at), _MIDDLE + 9), class_="said"),
    ]
    label = "the predicted interval"
    if measured is not None:
        drawn.append(element("circle", cx=scale(measured), cy=_MIDDLE, r=5, class_="at"))
        label = "the measured step beside the predicted interval"
    return picture(_WIDTH, _HEIGHT, label, *drawn, class_="strip")


def fill(amount: float, whole: float) -> Markup:
    """How much of a whole: full inside its outline."""
    scale = Scale(low=0.0, high=whole, start=1.0, end=_WIDTH - 3)
    drawn = [
        rectangle(1, _MIDDLE - 6, scale(whole) - 1, 12, rx=3, class_="band"),
        rectangle(1, _MIDDLE - 2.5, scale(amount) - 1, 5, rx=1, class_="filled"),
    ]
    return picture(_WIDTH, _HEIGHT, "how much of it", *drawn, class_="strip")


def gauge(predicted: float, measured: float, limit: float = 0.0) -> Markup:
    """Both amounts from zero on, measured full inside predicted's outline; a limit that is near as a rule."""
    longest = max(predicted, measured)
    near = limit if 0 < limit <= 2.5 * longest else 0.0
    scale = Scale(low=0.0, high=max(longest, near) or 1.0, start=1.0, end=_WIDTH - 3)
    drawn = [
        rectangle(1, _MIDDLE - 6, scale(predicted) - 1, 12, rx=3, class_="band"),
        rectangle(1, _MIDDLE - 2.5, scale(measured) - 1, 5, rx=1, class_="filled"),
    ]
    if near:
        drawn.append(line((scale(near), _MIDDLE - 10), (scale(near), _MIDDLE + 10), class_="limit"))
    return picture(_WIDTH, _HEIGHT, "measured beside predicted", *drawn, class_="strip")


def spark(learning: Learning) -> Markup:
    """The training loss, smoothed, as a line without axes, and the held-out losses as points."""
    train = [point for point in smoothed(learning.train, len(learning.train) // 20) if is_number(point[1])]
    points = [point for point in learning.validation if is_number(point[1])]
    if not train and not points:
        return Markup("")
    losses = [loss for _, loss in (*train, *points)]
    steps = [step for step, _ in (*train, *points)]
    x = Scale(low=min(steps), high=max(steps), start=4.0, end=_WIDTH - 4)
    y = Scale(low=min(losses), high=max(losses), start=_HEIGHT - 4, end=4.0)
    drawn = [path([(x(step), y(loss)) for step, loss in extremes(train, 100)], class_="line mean")] if train else []
    drawn += [element("circle", cx=x(step), cy=y(loss), r=2.6, class_="dot held-out") for step, loss in points]
    return picture(_WIDTH, _HEIGHT, "loss over the run", *drawn, class_="strip")

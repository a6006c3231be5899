"""The loss while it learns: each step pale, their mean full, held-out losses as points; what is no number is a gap.

    loss │╲                                     bits per byte
       6 ┤ ╲·                                 ┤ 3
         │  ╲___·                             │
       3 ┤      ‾‾──__○__ ▒▒ ___○___          ┤ 1.5      ▒ no number here
         └──────┴─────┴──────┴──────┴─
         0     50    100    150   200 step

It knows losses by step. A mean loss of a token in nats is l / (ln 2 · bytes per token) bits per byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import isfinite, log

from plait.report.data import Learning, StepLoss
from plait.report.figures import decimal
from plait.report.legend import legend
from plait.report.markup import Markup, element, fragment
from plait.report.selection import extremes, spread
from plait.report.svg import Point, Scale, line, path, picture, rectangle, ticks, words

__all__ = ["bits_per_byte", "curve", "is_number", "not_numbers", "smoothed"]

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 1060.0, 58.0, 1000.0, 34.0, 344.0
_HEIGHT = _BOTTOM + 42
_MOST_COLUMNS = 480  # the picture is about twice as many pixels wide
_MOST_NAMED = 9  # held-out losses with their figure
_LARGEST = 1e300  # beyond it differences overflow


def bits_per_byte(loss: float, bytes_per_token: float) -> float:
    """A mean loss of a token in nats as bits per byte of text."""
    return loss / (log(2) * bytes_per_token)


def is_number(loss: float) -> bool:
    """Whether a loss can be drawn."""
    return isfinite(loss) and abs(loss) < _LARGEST


def not_numbers(points: Sequence[StepLoss]) -> tuple[int, ...]:
    """The steps whose loss is NaN or infinite."""
    return tuple(step for step, loss in points if not is_number(loss))


def smoothed(points: Sequence[StepLoss], reach: int) -> tuple[StepLoss, ...]:
    """The mean of each loss with those `reach` places before and after; what is no number stays so and counts not."""
    found: list[StepLoss] = []
    for place, (step, loss) in enumerate(points):
        around = [near for _, near in points[max(0, place - reach) : place + reach + 1] if is_number(near)]
        found.append((step, sum(near / len(around) for near in around) if is_number(loss) else loss))
    return tuple(found)


def curve(learning: Learning) -> Markup:
    """The picture, its legend, and a sentence about losses that are no numbers. Nothing at all without any."""
    finite = [loss for _, loss in (*learning.train, *learning.validation) if is_number(loss)]
    steps = [step for step, _ in (*learning.train, *learning.validation)]
    if not finite:
        return _gap_sentence(learning)
    finite += [loss for loss in learning.baselines.values() if is_number(loss)]
    low, high = min(finite), max(finite)
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    x = Scale(low=min(0, *steps), high=max(1, *steps), start=_LEFT, end=_RIGHT)
    y = Scale(low=low - margin, high=high + margin, start=_BOTTOM, end=_TOP)
    reach = min(60, len(learning.train) // 40)
    mean = smoothed(learning.train, reach)
    drawn = [
        *_axes(x, y, learning.bytes_per_token),
        *_gaps(learning.train, x),
        *(_lines(learning.train, x, y, "raw") if reach else ()),
        *_area(mean, x, y),
        *_lines(mean, x, y, "mean"),
        *_baselines(learning, x, y),
        *_hits(learning.train, mean, x),
        *_held_out(learning, x, y),
    ]
    label = f"Loss over {max(steps)} steps, from {decimal(finite[0])}"
    return fragment(
        picture(_WIDTH, _HEIGHT, label, *drawn, class_="curve"), _legend(learning, reach), _gap_sentence(learning)
    )


def _axes(x: Scale, y: Scale, bytes_per_token: float | None) -> Iterator[Markup]:
    for value in ticks(y.low, y.high):
        yield line((_LEFT, y(value)), (_RIGHT, y(value)), class_="grid")
        yield words((_LEFT - 10, y(value) + 4), f"{value:.6g}", anchor="end", class_="tick")
    for value in (step for step in ticks(x.low, x.high, most=9) if step == int(step)):
        yield words((x(value), _BOTTOM + 18), f"{value:,.0f}", anchor="middle", class_="tick")
    yield line((_LEFT, _BOTTOM), (_RIGHT, _BOTTOM), class_="axis")
    yield words((_RIGHT, _BOTTOM + 36), "step", anchor="end", class_="name")
    yield words((4, 12), "loss, nats a token", class_="name")
    if bytes_per_token:
        bits = Scale(low=bits_per_byte(y.low, bytes_per_token), high=bits_per_byte(y.high, bytes_per_token),
                     start=_BOTTOM, end=_TOP)  # fmt: skip
        yield words((_WIDTH - 4, 12), "bits per byte", anchor="end", class_="name")
        for value in ticks(bits.low, bits.high):
            yield line((_RIGHT, bits(value)), (_RIGHT + 5, bits(value)), class_="axis")
            yield words((_RIGHT + 10, bits(value) + 4), f"{value:.6g}", class_="tick")


def _runs(points: Sequence[StepLoss]) -> Iterator[list[StepLoss]]:
    """Neighbours that are numbers, run by run."""
    return (list(run) for finite, run in groupby(points, key=lambda point: is_number(point[1])) if finite)


def _placed(run: Sequence[StepLoss], x: Scale, y: Scale) -> list[Point]:
    return [(x(step), y(loss)) for step, loss in extremes(run, _MOST_COLUMNS)]


def _lines(points: Sequence[StepLoss], x: Scale, y: Scale, kind: str) -> Iterator[Markup]:
    for run in _runs(points):
        corners = _placed(run, x, y)
        if len(corners) == 1:
            yield element("circle", cx=corners[0][0], cy=corners[0][1], r=1.6, class_=f"dot {kind}")
        else:
            yield path(corners, class_=f"line {kind}")


def _area(points: Sequence[StepLoss], x: Scale, y: Scale) -> Iterator[Markup]:
    for run in _runs(points):
        corners = _placed(run, x, y)
        yield path(corners, close=((corners[-1][0], _BOTTOM), (corners[0][0], _BOTTOM)), class_="area")


def _gaps(points: Sequence[StepLoss], x: Scale) -> Iterator[Markup]:
    for finite, run in groupby(points, key=lambda point: is_number(point[1])):
        steps = [step for step, _ in run]
        if not finite:
            left, right = x(steps[0] - 0.5), x(steps[-1] + 0.5)
            width = max(2.0, right - left)
            yield rectangle(
                min(left, _RIGHT - width), _TOP, width, _BOTTOM - _TOP, class_="gap", data_tip="not a number"
            )


def _baselines(learning: Learning, x: Scale, y: Scale) -> Iterator[Markup]:
    for name, loss in learning.baselines.items():
        if is_number(loss):
            yield line((_LEFT, y(loss)), (_RIGHT, y(loss)), class_="baseline")
            yield words((_RIGHT - 6, y(loss) - 6), f"{name} {decimal(loss)}", anchor="end", class_="value")


def _hits(train: Sequence[StepLoss], mean: Sequence[StepLoss], x: Scale) -> Iterator[Markup]:
    """Invisible columns that say, when pointed at, what the loss was."""
    if not train:
        return
    width = (_RIGHT - _LEFT) / min(len(train), _MOST_COLUMNS)
    for place in spread(len(train), _MOST_COLUMNS):
        step, loss = train[place]
        tip = f"step {step:,}\nloss {decimal(loss)}\nmean {decimal(mean[place][1])}"
        left = min(max(x(step) - width / 2, _LEFT), _RIGHT - width)
        yield rectangle(left, _TOP, width, _BOTTOM - _TOP, class_="hit", data_tip=tip)


def _held_out(learning: Learning, x: Scale, y: Scale) -> Iterator[Markup]:
    points = [point for point in learning.validation if is_number(point[1])]
    if len(points) > 1:
        yield path([(x(step), y(loss)) for step, loss in points], class_="line held-out")
    named = spread(len(points), _MOST_NAMED)
    for place, (step, loss) in enumerate(points):
        at = (x(step), y(loss))
        tip = f"step {step:,}\nheld-out loss {decimal(loss)}{_bits(loss, learning.bytes_per_token)}"
        yield element("circle", cx=at[0], cy=at[1], r=4.5, class_="dot held-out", data_tip=tip)
        if place in named:
            anchor = "start" if at[0] < _LEFT + 30 else "end" if at[0] > _RIGHT - 30 else "middle"
            yield words((at[0] + (8 if anchor == "start" else 0), max(12.0, at[1] - 11)), decimal(loss),
                        anchor=anchor, class_="value held-out")  # fmt: skip


def _bits(loss: float, bytes_per_token: float | None) -> str:
    return f"\n{decimal(bits_per_byte(loss, bytes_per_token))} bits per byte" if bytes_per_token else ""


def _legend(learning: Learning, reach: int) -> Markup:
    mean = ("mean", f"mean of {2 * reach + 1} steps", "")
    each = ("raw" if reach else "mean", "training loss of each step", "")
    held_out = ("held-out", "held-out loss", "")
    occurs = {mean: reach, each: learning.train, held_out: learning.validation}
    return legend(entry for entry, found in occurs.items() if found)


def _gap_sentence(learning: Learning) -> Markup:
    steps = sorted(not_numbers((*learning.train, *learning.validation)))
    if not steps:
        return Markup("")
    runs = list(_ranges(steps))
    named = ", ".join(runs[:_MOST_NAMED]) + (", and later ones" if len(runs) > _MOST_NAMED else "")
    lost = f"{len(steps)} losses are not numbers" if len(steps) > 1 else "One loss is not a number"
    return element("p", f"{lost}: step {named}.", class_="warning")


def _ranges(steps: Sequence[int]) -> Iterator[str]:
    """Steps that follow each other as one: "61 to 74"."""
    for _, run in groupby(enumerate(sorted(set(steps))), key=lambda item: item[1] - item[0]):
        members = [step for _, step in run]
        yield f"{members[0]} to {members[-1]}" if len(members) > 1 else str(members[0])

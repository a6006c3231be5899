"""A step's schedule as an SVG that stands alone: a lane a rank of the pipeline, computations in the colours of the
report.

    rank 0  [0F0][0F1]····[2B0]        light: an early stage, full: a late one, where a rank has several
    rank 1  ·····[1F0]────[1I0][1W0]   a thread in the lane's middle: a transfer

It knows a timeline; nothing of a plan.
"""

from __future__ import annotations

from collections.abc import Iterator

from plait.report.figures import second_unit, seconds
from plait.report.markup import Markup, element, number
from plait.report.palette import GROUND, style_variables
from plait.report.svg import Scale, axis, rectangle, words
from plait.schedules.action import COMPUTE, Kind
from plait.schedules.timeline import Timed, Timeline
from plait.specs.wording import ranks_named

__all__ = ["schedule_picture"]

_WIDTH, _LEFT, _RIGHT, _TOP, _LANE, _PITCH = 1200.0, 66.0, 1184.0, 14.0, 26.0, 34.0
_COLOUR = {Kind.F: "forward", Kind.B: "backward", Kind.I: "backward", Kind.W: "weight-gradients"}
_LETTER = 6.4  # pixels of a name's letter
_STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#363f4d}.grid{stroke:#d5dae2;stroke-width:1}"
    ".lane{fill:#f1f3f6}.pipeline{fill:var(--pipeline)}"
)


def schedule_picture(timeline: Timeline, each: int = 1) -> Markup:
    """The SVG document. `each`: how many ranks a lane stands for."""
    bottom = _TOP + len(timeline.ranks) * _PITCH
    called = [ranks_named(place * each, each) for place in range(len(timeline.ranks))]
    left = max(_LEFT, 16 + _LETTER * max(map(len, called), default=0))
    scale = Scale(low=0.0, high=timeline.step_seconds, start=left, end=_RIGHT)
    names = sorted(set(_COLOUR.values()) | {"pipeline"})
    fills = "".join(f".{name}{{fill:var(--{name})}}text.{name}{{fill:var(--on-{name})}}" for name in names)
    told = f"One step of a pipeline of {len(timeline.ranks)}: {seconds(timeline.step_seconds)}"
    return element(
        "svg",
        element("title", told),
        element("style", Markup(f"svg{{{style_variables('light')}}}{_STYLE}{fills}")),
        rectangle(0, 0, _WIDTH, bottom + 30, fill=GROUND["light"]),
        axis(scale, second_unit(scale.high), _TOP - 6, bottom),
        *(
            part
            for place, (name, timed) in enumerate(zip(called, timeline.ranks, strict=True))
            for part in _lane(name, place, timed, scale)
        ),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {number(_WIDTH)} {number(bottom + 30)}",
        width=_WIDTH,
    )


def _lane(name: str, place: int, timed: tuple[Timed, ...], scale: Scale) -> Iterator[Markup]:
    top = _TOP + place * _PITCH
    stages = sorted({one.action.stage for one in timed})
    yield words((scale.start - 10, top + _LANE / 2 + 4), name, anchor="end")
    yield rectangle(scale.start, top, scale(scale.high) - scale.start, _LANE, class_="lane")
    for one in sorted(timed, key=lambda one: one.action.kind not in COMPUTE):  # transfers over computations
        yield from _span(one, top, scale, (stages.index(one.action.stage) + 1) / len(stages), len(stages) > 1)


def _span(one: Timed, top: float, scale: Scale, depth: float, several: bool) -> Iterator[Markup]:
    """`depth`: from 0 to 1, how late the stage is among the rank's."""
    action, left, right = one.action, scale(one.start), scale(one.end)
    tip = element("title", f"{action}: {seconds(one.start)} to {seconds(one.end)}")
    if action.kind not in COMPUTE:
        yield element("g", tip, rectangle(left, top + _LANE * 0.4, right - left, _LANE * 0.2, class_="pipeline"))
        return
    colour = _COLOUR[action.kind]
    box = rectangle(left, top, right - left, _LANE, rx=1.5, class_=colour, fill_opacity=0.55 + 0.45 * depth)
    yield element("g", tip, box, data_action=str(action))
    name = str(action) if several else f"{action.kind}{action.microbatch}"
    if right - left > _LETTER * len(name):
        yield words(((left + right) / 2, top + _LANE / 2 + 4), name, anchor="middle", class_=colour)

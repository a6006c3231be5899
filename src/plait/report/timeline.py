"""One step of every rank: what was predicted over what was measured, on one axis of time.

            0 ms        100         200         300
    rank 0  [F0][F1]~~~~////[B0][F2][B1]////////|          predicted: pale
            [F0 ][F1 ]~~~~~//[B0 ][F2 ][B1 ]//////|        measured: full
    rank 1  ...                                            hatched: nothing runs, the bubble

Computing fills a lane; messages are a thread in its middle, so that those beside computing can be seen. It knows lanes
of spans, not what made them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from plait.report.figures import percent, second_unit, seconds
from plait.report.legend import legend
from plait.report.markup import Markup, element, fragment
from plait.report.palette import MEANINGS
from plait.report.selection import spread
from plait.report.spans import Lane, Span, busy_seconds, end_of
from plait.report.svg import Scale, axis, line, picture, rectangle, words
from plait.sharding.mesh_shape import AXES

__all__ = ["timeline"]

_WIDTH, _RIGHT, _TOP, _BOTTOM = 1060.0, 1046.0, 44.0, 24.0
_LEFT, _LETTER = 66.0, 6.7  # pixels beside the lanes, at least; of a letter of the names there
_MOST_RANKS = 16  # drawn; more would be threads
_NARROWEST_LABEL = 17.0  # pixels of a span that can hold "B12"
_FINEST = 0.6  # pixels; neighbours of one kind below it are drawn as one

_Lanes = Sequence[Lane]


@dataclass(frozen=True, kw_only=True)
class _Row:
    """The place of one side's lanes: `offset` below the top of its rank, `height` of a lane."""

    side: str
    offset: float
    height: float


def timeline(predicted: _Lanes, measured: _Lanes, names: Sequence[str] = ()) -> Markup:
    """The picture and its legend; either side may be empty. Nothing at all without spans. `names` of the lanes, where
    they are not those of ranks."""
    sides = {name: lanes for name, lanes in (("predicted", predicted), ("measured", measured)) if end_of(lanes) > 0}
    if not sides:
        return Markup("")
    count = max(map(len, sides.values()))
    called = names or [f"rank {rank}" for rank in range(count)]
    what = "lines" if names else "ranks"
    return fragment(_drawing(sides, called), _legend(sides, what), _left_out(count, what))


def _drawing(sides: dict[str, _Lanes], names: Sequence[str]) -> Markup:
    ranks = max(map(len, sides.values()))
    shown = spread(ranks, _MOST_RANKS)
    height = 27.0 if len(shown) <= 4 else 17.0 if len(shown) <= 8 else 10.0
    rows = [_Row(side=side, offset=index * (height + 2), height=height) for index, side in enumerate(sides)]
    pitch = len(rows) * (height + 2) + 14
    bottom = _TOP + len(shown) * pitch - 8
    left = max(_LEFT, 16 + _LETTER * max(len(names[rank]) for rank in shown))
    scale = Scale(low=0.0, high=max(map(end_of, sides.values())), start=left, end=_RIGHT)
    drawn = [axis(scale, second_unit(scale.high), _TOP - 6, bottom)]
    for place, rank in enumerate(shown):
        top = _TOP + place * pitch
        drawn.append(_lane_name(names[rank], left, top, rows))
        drawn += [_lane(sides[row.side], rank, row, top, scale) for row in rows]
    last_first = sorted(sides.items(), key=lambda side: -end_of(side[1]))  # so that no line crosses a name
    drawn += [_end_marker(side, end_of(lanes), place, bottom, scale) for place, (side, lanes) in enumerate(last_first)]
    label = f"One step of {ranks} ranks: " + ", ".join(f"{s} {seconds(end_of(lanes))}" for s, lanes in sides.items())
    return picture(_WIDTH, bottom + _BOTTOM, label, *drawn, class_="timeline")


def _lane_name(name: str, left: float, top: float, rows: Sequence[_Row]) -> Markup:
    middle = top + (rows[-1].offset + rows[-1].height) / 2
    return words((left - 10, middle + 4), name, anchor="end", class_="name")


def _lane(lanes: _Lanes, rank: int, row: _Row, top: float, scale: Scale) -> Markup:
    """One rank's lane, hatched from 0 to the end of the step, and its spans on it, messages above computing."""
    if rank >= len(lanes):
        return Markup("")
    y = top + row.offset
    end = scale(end_of(lanes))
    spans = sorted(_coalesced(lanes[rank], scale), key=lambda span: span.kind in AXES)
    drawn = [_span(span, y, row.height, scale) for span in spans]
    idle = rectangle(scale.start, y, end - scale.start, row.height, class_="idle")
    return element("g", idle, *drawn, class_=row.side)


def _span(span: Span, y: float, height: float, scale: Scale) -> Markup:
    left, right = scale(span.start), scale(span.end)
    message = span.kind in AXES
    tall = height * 0.4 if message else height
    taken = f"{span.name}  {MEANINGS[span.kind]}\n{seconds(span.start)} to {seconds(span.end)}"
    tip = f"{taken}: {seconds(span.end - span.start)}"
    microbatch = None if span.microbatch is None else str(span.microbatch)
    top = y + (height - tall) / 2
    box = rectangle(left, top, right - left, tall, rx=1.5, class_=span.kind, data_tip=tip, data_microbatch=microbatch)
    if message or microbatch is None or height < 14 or right - left < _NARROWEST_LABEL:
        return box
    at = ((left + right) / 2, y + height / 2 + 3.6)
    name = words(at, microbatch, anchor="middle", class_=f"on {span.kind}", data_microbatch=microbatch)
    return fragment(box, name)


def _coalesced(lane: Lane, scale: Scale) -> Iterator[Span]:
    """The lane with neighbours of one kind that are too fine to be told apart drawn as one span."""
    held: Span | None = None
    for span in lane:
        fine = scale(span.end) - scale(span.start) < _FINEST
        if held and fine and held.kind == span.kind and scale(span.start) - scale(held.end) < _FINEST:
            name = f"{held.name.split(' ')[0]} to {span.name}"
            held = Span(kind=span.kind, name=name, start=held.start, end=max(held.end, span.end))
            continue
        if held:
            yield held
        held = span
    if held:
        yield held


def _end_marker(side: str, end: float, place: int, bottom: float, scale: Scale) -> Markup:
    x, y = scale(end), 12.0 + 15 * place
    marker = line((x, y - 8), (x, bottom), class_=f"end {side}")
    return fragment(marker, words((x - 6, y + 2), f"{side} {seconds(end)}", anchor="end", class_=f"value {side}"))


def _legend(sides: dict[str, _Lanes], what: str) -> Markup:
    """Every kind that occurs, with its share on each side of the time of all that is drawn: of ranks, or of lines."""
    shares = {side: _shares(lanes) for side, lanes in sides.items()}
    kinds = [kind for kind in MEANINGS if any(kind in found for found in shares.values())]
    entries = [(kind, MEANINGS[kind], " | ".join(percent(s.get(kind, 0.0)) for s in shares.values())) for kind in kinds]
    return legend(entries, note=f"share of the {what}' time, {' | '.join(sides)}")


def _shares(lanes: _Lanes) -> dict[str, float]:
    """The share of the lanes' time in which each kind runs, and in which none does; kinds may run side by side."""
    total = end_of(lanes) * len(lanes)
    kinds = {span.kind for lane in lanes for span in lane}
    found = {kind: sum(busy_seconds(_of_kind(lane, kind)) for lane in lanes) / total for kind in kinds}
    return {**found, "idle": max(0.0, 1 - sum(map(busy_seconds, lanes)) / total)}


def _of_kind(lane: Lane, kind: str) -> Lane:
    return tuple(span for span in lane if span.kind == kind)


def _left_out(count: int, what: str) -> Markup:
    if count <= _MOST_RANKS:
        return Markup("")
    return element("p", f"{_MOST_RANKS} of the {count} {what} are drawn.", class_="note")

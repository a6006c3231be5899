"""Memory of every rank: what was predicted, stacked by kind, the measured peak as a tick, the limit as a line.

    rank 0  [weights][gradients][optimizer ][activations ]  |      312 MiB predicted, 330 MiB measured
    rank 1  [weights][gradients][optimizer ][act]   |              ...
                                                  measured  limit

It knows bytes by rank and kind; a limit far beyond the bars is said, not drawn, so that the bars can be seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plait.plans.prediction import Prediction
from plait.report.figures import byte_unit, size
from plait.report.legend import legend
from plait.report.markup import Markup, element, fragment
from plait.report.svg import Scale, axis, line, picture, rectangle, words

__all__ = ["Bar", "memory", "memory_bars"]

_WIDTH, _RIGHT, _TOP, _BOTTOM = 1060.0, 800.0, 26.0, 26.0
_LEFT, _LETTER = 66.0, 6.7  # pixels beside the bars, at least; of a letter of the names there
_MOST_RANKS = 24  # drawn; of more, the fullest
_FARTHEST_LIMIT = 2.5  # times the longest bar: beyond it the limit is only said

_KINDS = {  # of memory: what the palette calls its colour, and its name
    "weights": ("weights", "weights"),
    "gradients": ("backward", "gradients"),
    "optimizer": ("optimizer", "optimizer state"),
    "activations": ("forward", "activations"),
    "logits": ("weight-gradients", "logits"),
    "messages": ("pipeline", "messages"),
    "residuals": ("tensor", "what compression keeps"),
    "host": ("data", "offloaded to the host"),
    "reserved": ("other", "taken by libraries and the allocator"),
    "other": ("other", "messages and logits"),
}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One rank: predicted bytes of each kind, in the order in which they are stacked, and the measured peak. A `name`
    is that of several ranks that hold the same, from `rank` on; None: of all together."""

    rank: int | None
    parts: Mapping[str, int]
    measured: int | None = None
    name: str = ""

    @property
    def total(self) -> int:
        """All predicted bytes."""
        return sum(self.parts.values())


def memory_bars(prediction: Prediction | None, measured: Sequence[int]) -> tuple[Bar, ...]:
    """A bar a rank. What a prediction holds beyond the four kinds it names stands last, as "other"."""
    ranks = max(prediction.ranks if prediction else 0, len(measured))
    peaks = [*measured, *[None] * (ranks - len(measured))]
    return tuple(
        Bar(rank=r, parts=_parts(prediction, r) if prediction else {}, measured=peaks[r]) for r in range(ranks)
    )


def _parts(prediction: Prediction, rank: int) -> dict[str, int]:
    if rank >= prediction.ranks:
        return {}
    named = {
        "weights": prediction.weight_bytes[rank],
        "gradients": prediction.gradient_bytes[rank],
        "optimizer": prediction.optimizer_bytes[rank],
        "activations": prediction.activation_bytes[rank],
    }
    return {**named, "other": max(0, prediction.memory_bytes[rank] - sum(named.values()))}


def memory(bars: Sequence[Bar], limit: int | None = None) -> Markup:
    """The picture and its legend; nothing at all without ranks."""
    if not any(bar.total or bar.measured for bar in bars):
        return Markup("")
    shown = _fullest(bars)
    longest = max(max(bar.total, bar.measured or 0) for bar in shown)
    near = limit is not None and limit <= _FARTHEST_LIMIT * longest
    notes = [f"The limit, {size(limit)} a rank, lies beyond the picture."] if limit is not None and not near else []
    notes += [f"The {len(shown)} fullest of {len(bars)} ranks are drawn."] if len(shown) < len(bars) else []
    notes = [element("p", note, class_="note") for note in notes]
    return fragment(_drawing(shown, longest, limit if near else None), _legend(shown), *notes)


def _fullest(bars: Sequence[Bar]) -> list[Bar]:
    by_size = sorted(bars, key=lambda bar: -max(bar.total, bar.measured or 0))
    return sorted(by_size[:_MOST_RANKS], key=lambda bar: bar.rank or 0)


def _named(bar: Bar) -> str:
    return bar.name or f"rank {bar.rank}"


def _drawing(bars: Sequence[Bar], longest: int, limit: int | None) -> Markup:
    height = 22.0 if len(bars) <= 8 else 13.0
    pitch = height + (10 if len(bars) <= 8 else 5)
    bottom = _TOP + len(bars) * pitch - (pitch - height) + 6
    scale = Scale(
        low=0.0,
        high=float(max(longest, limit or 0)),
        start=max(_LEFT, 16 + _LETTER * max(len(_named(bar)) for bar in bars)),
        end=_RIGHT,
    )
    drawn = [axis(scale, byte_unit(scale.high), _TOP - 6, bottom)]
    drawn += [_bar(bar, _TOP + place * pitch, height, scale) for place, bar in enumerate(bars)]
    if limit is not None:
        drawn.append(_limit(limit, bottom, scale))
    label = f"Memory of {len(bars)} ranks; the fullest takes {size(longest)}"
    return picture(_WIDTH, bottom + _BOTTOM, label, *drawn, class_="memory")


def _bar(bar: Bar, top: float, height: float, scale: Scale) -> Markup:
    middle = top + height / 2 + 4
    drawn = [words((scale.start - 10, middle), _named(bar), anchor="end", class_="name")]
    begin = 0
    for kind, amount in bar.parts.items():
        left, right = scale(begin), scale(begin + amount)
        tip = f"{_KINDS[kind][1]}: {size(amount)}"
        shape = rectangle(left, top, right - left, height, class_=f"part {_KINDS[kind][0]}", data_tip=tip)
        drawn.append(shape if amount else Markup(""))
        begin += amount
    said = [f"{size(bar.total)} predicted"] if bar.parts else []
    if bar.measured is not None:
        x = scale(bar.measured)
        drawn.append(line((x, top - 3), (x, top + height + 3), class_="peak", data_tip=f"peak: {size(bar.measured)}"))
        said.append(f"{size(bar.measured)} measured")
    drawn.append(words((_RIGHT + 14, middle), " · ".join(said), class_="value"))
    return element("g", *drawn, class_="predicted")


def _limit(limit: int, bottom: float, scale: Scale) -> Markup:
    x = scale(limit)
    rule = line((x, _TOP - 10), (x, bottom), class_="limit")
    return fragment(rule, words((x - 6, _TOP - 12), f"limit {size(limit)}", anchor="end", class_="value limit"))


def _legend(bars: Sequence[Bar]) -> Markup:
    entries = [(css, name, "") for kind, (css, name) in _KINDS.items() if any(bar.parts.get(kind) for bar in bars)]
    if any(bar.measured is not None for bar in bars):
        entries.append(("peak", "measured peak", ""))
    return legend(entries)

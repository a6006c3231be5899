"""Predicted beside measured: every term of a step, throughput and memory, each with its error, and one honest sentence.

                        predicted   measured     error   measured − predicted
    step                   312 ms     325 ms    −4.0 %
    compute                249 ms     251 ms    −0.8 %            ▌
    bubble                  41 ms     50.2 ms  −18.3 %            ▌▌▌▌

error = (predicted − measured) / measured. It knows two sets of numbers and their names, not where they come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plait.plans.prediction import Prediction, Terms
from plait.report.data import Measured
from plait.report.figures import rate, seconds, signed_percent, size
from plait.report.markup import Markup, element, fragment
from plait.report.svg import Scale, line, picture, rectangle
from plait.sharding.mesh_shape import AXES

__all__ = ["Pair", "comparison", "error_of", "honest_sentence", "pairs", "term_name", "term_seconds"]

_OVER = {"step", "tokens", "memory"}  # rows that are no term of the step


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One quantity on both sides. `kind` is a meaning of the palette or one of step, tokens, memory."""

    kind: str
    name: str
    predicted: float
    measured: float | None


def term_seconds(terms: Terms) -> dict[str, float]:
    """The terms of a step by kind: compute, bubble, each axis in the order of the mesh, optimizer."""
    axes = sorted(terms.exposed, key=lambda axis: AXES.index(axis) if axis in AXES else len(AXES))
    exposed = {axis: terms.exposed[axis] for axis in axes}
    return {"compute": terms.compute, "bubble": terms.bubble, **exposed, "optimizer": terms.optimizer}


def pairs(prediction: Prediction, measured: Measured | None, tokens_per_step: int | None = None) -> tuple[Pair, ...]:
    """The rows of the comparison, the step first. A term that is zero on both sides is left out."""
    found = [Pair(kind="step", name="step", predicted=prediction.step_seconds, measured=_step(measured))]
    before = term_seconds(prediction.terms)
    after = term_seconds(measured.terms) if measured and measured.terms else {}
    for kind in {**before, **after}:
        there = after.get(kind, 0.0) if after else None
        if before.get(kind, 0.0) or there:
            found.append(Pair(kind=kind, name=term_name(kind), predicted=before.get(kind, 0.0), measured=there))
    if tokens_per_step and prediction.step_seconds > 0:
        there = measured.tokens_per_second if measured else None
        predicted = tokens_per_step / prediction.step_seconds
        found.append(Pair(kind="tokens", name="tokens a second", predicted=predicted, measured=there))
    peak = float(max(measured.memory_bytes)) if measured and measured.memory_bytes else None
    if prediction.memory_bytes:
        name = "memory, fullest rank"
        found.append(Pair(kind="memory", name=name, predicted=float(max(prediction.memory_bytes)), measured=peak))
    return tuple(found)


def _step(measured: Measured | None) -> float | None:
    return measured.step_seconds if measured else None


def term_name(kind: str) -> str:
    """What a term is called: an axis is its exposed communication."""
    return kind if kind in ("compute", "bubble", "optimizer") else f"exposed communication, {kind}"


def error_of(predicted: float, measured: float) -> float | None:
    """(predicted − measured) / measured; None where nothing was measured to divide by."""
    if measured == 0:
        return 0.0 if predicted == 0 else None
    return (predicted - measured) / measured


def honest_sentence(prediction: Prediction, measured: Measured) -> str:
    """Whether the measured step lies inside the interval, and if not, which term went most astray."""
    low, high = prediction.interval
    between = f"the predicted interval of {seconds(low)} to {seconds(high)}"
    took = f"The measured step, {seconds(measured.step_seconds)}, lies"
    if low <= measured.step_seconds <= high:
        return f"{took} inside {between}."
    edge, word = (high, "above") if measured.step_seconds > high else (low, "below")
    beyond = f" by {seconds(abs(measured.step_seconds - edge))}"
    return f"{took} outside {between}: {word} it{beyond}.{_astray(prediction, measured)}"


def _astray(prediction: Prediction, measured: Measured) -> str:
    if measured.terms is None:
        return ""
    before, after = term_seconds(prediction.terms), term_seconds(measured.terms)
    longer = measured.step_seconds > prediction.step_seconds
    sign = 1 if longer else -1
    missed = {kind: sign * (after.get(kind, 0.0) - before.get(kind, 0.0)) for kind in {**before, **after}}
    kind, amount = max(missed.items(), key=lambda item: item[1])
    if not amount > 0:
        return ""
    more = "more" if longer else "less"
    return f" The largest part of it is {term_name(kind)}: {seconds(amount)} {more} than predicted."


def comparison(rows: Sequence[Pair]) -> Markup:
    """The table; a column of bars shows by how many seconds each term was missed."""
    missed = [abs(row.measured - row.predicted) for row in rows if row.kind not in _OVER and row.measured is not None]
    largest = max(missed, default=0.0)
    heads = ["", "predicted", "measured", "error", "measured − predicted"]
    head = element("tr", *(element("th", words_, scope="col") for words_ in heads))
    body = [_row(row, largest) for row in rows]
    return element("table", element("thead", head), element("tbody", *body), class_="comparison")


def _row(row: Pair, largest: float) -> Markup:
    say = {"tokens": rate, "memory": size}.get(row.kind, seconds)
    error = None if row.measured is None else error_of(row.predicted, row.measured)
    name = row.name if row.kind in _OVER else fragment(element("i", class_=f"swatch {row.kind}"), row.name)
    cells = [
        say(row.predicted),
        "" if row.measured is None else say(row.measured),
        "" if error is None else signed_percent(error),
    ]
    figures = [element("td", cell or "–", class_="figure") for cell in cells]
    bar = "" if row.kind in _OVER or row.measured is None else _miss(row.kind, row.measured - row.predicted, largest)
    return element("tr", element("th", name, scope="row"), *figures, element("td", bar), class_=row.kind)


def _miss(kind: str, amount: float, largest: float) -> Markup:
    """A bar from the middle: to the right what took longer than predicted."""
    middle, half = 70.0, 66.0
    reach = Scale(low=0.0, high=largest, start=0.0, end=half)(abs(amount))
    bar = rectangle(middle - (reach if amount < 0 else 0), 3, reach, 8, class_=f"part {kind}")
    sign = "+" if amount > 0 else "−" if amount < 0 else ""
    said = f"{sign}{seconds(abs(amount))}"
    drawn = [line((middle, 0), (middle, 14), class_="axis"), element("g", bar, class_="measured")]
    return fragment(picture(140, 14, said, *drawn), element("span", said, class_="missed"))

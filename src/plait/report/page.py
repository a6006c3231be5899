"""The page: head, then one section a question, each left out where there is nothing to answer it with.

    head · the plan · its rivals · the proof · what was learnt
         · predicted and measured · one step · memory · samples · how to do it again

What a page is stands in `frame`; the same data give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from plait.plans.departures import departures, disturbance
from plait.plans.describe import describe
from plait.report.comparison import comparison, honest_sentence, pairs
from plait.report.curve import bits_per_byte, curve
from plait.report.data import Learning, ReportData, Sample
from plait.report.figures import decimal, seconds
from plait.report.frame import framed, section
from plait.report.hero import hero
from plait.report.markup import Markup, element, fragment
from plait.report.memory import memory, memory_bars
from plait.report.mesh import mesh
from plait.report.pace import pace
from plait.report.ranking import ranking
from plait.report.settings import commands, settings
from plait.report.shares import share_bars
from plait.report.spans import end_of
from plait.report.timeline import timeline
from plait.report.verdicts import is_same_model

__all__ = ["render_report"]

_TYPICAL = 0.1  # a step that takes that much more or less than the steady one is said not to be typical


def render_report(data: ReportData) -> str:
    """The whole page as HTML. Everything that a user wrote is escaped; a part without data is left out."""
    return framed(data.name, hero(data), *_sections(data))


def _sections(data: ReportData) -> Iterator[Markup]:
    if data.plan:
        yield from section("plan", "The plan", describe(data.plan), mesh(data.plan), settings(data.plan))
    if data.search:
        yield from section("rivals", "What else was considered", "", ranking(data.search, data.plan))
    yield from _proof(data)
    if data.learning:
        yield from section("learning", "What it learnt", "", _held_out(data.learning), curve(data.learning))
    yield from _comparison(data)
    drawn = timeline(data.predicted_lanes, data.measured_lanes)
    yield from section("step", "One step, rank by rank", _sides(data), drawn)
    peaks = data.measured.memory_bytes if data.measured else ()
    bars = memory(memory_bars(data.prediction, peaks), data.memory_limit)
    yield from section("memory", "Memory of every rank", "", bars)
    yield from section("samples", "What it writes", "", _samples(data.samples))
    yield from section("again", "Do it again", "", commands(data.commands))


def _proof(data: ReportData) -> Iterator[Markup]:
    if data.verdict is None:
        return
    answer = "yes" if is_same_model(data.verdict) else "no"
    stamp = element("b", data.verdict.verdict, class_=f"stamp {answer}")
    said = element("p", stamp, " ", data.verdict.sentence, class_="verdict")
    yield from section("proof", "Is it the same model as on one device?", "", said)


def _held_out(learning: Learning) -> Markup:
    """Held-out loss before, halfway and after."""
    points = learning.validation
    if not points:
        return Markup("")
    chosen = dict.fromkeys((points[0], points[len(points) // 2], points[-1]))
    names = {1: ("held-out loss",), 2: ("before", "after"), 3: ("before", "during", "after")}[len(chosen)]
    found = [_loss_figure(n, s, loss, learning.bytes_per_token) for n, (s, loss) in zip(names, chosen, strict=True)]
    return element("dl", *found, class_="losses")


def _loss_figure(name: str, step: int, loss: float, bytes_per_token: float | None) -> Markup:
    bits = f"{decimal(bits_per_byte(loss, bytes_per_token))} bits per byte" if bytes_per_token else ""
    return element("div", element("dt", f"{name} · step {step:,}"), element("dd", decimal(loss)), element("span", bits))


def _comparison(data: ReportData) -> Iterator[Markup]:
    if data.prediction is None:
        return
    sides = {"predicted": (data.prediction.step_seconds, data.prediction.terms)}
    lede, title = "", "What was predicted"
    if data.measured:
        title = "Predicted and measured"
        lede = honest_sentence(data.prediction, data.measured)
        if data.measured.terms:
            sides["measured"] = (data.measured.step_seconds, data.measured.terms)
    rows = pairs(data.prediction, data.measured, data.job.tokens_per_step if data.job else None)
    note = element("p", "error = (predicted − measured) / measured", class_="note") if data.measured else Markup("")
    body = (share_bars(sides), comparison(rows), note, _why(data), _pace(data))
    yield from section("comparison", title, lede, *body)


def _why(data: ReportData) -> Markup:
    """Whose doing a difference is, and where the prediction had nothing measured to stand on."""
    said, found = data.prediction, data.measured
    causes = departures(said, found.terms, found.stages, found.transfers) if said and found and found.terms else ()
    busy = disturbance(found.other_cores) if found else None
    lines = [element("li", busy)] if busy else []
    lines += [element("li", cause.words) for cause in causes]
    lines += [element("li", f"a guess: {guess}") for guess in data.guesses]
    return element("ul", *lines, class_="departures") if lines else Markup("")


def _pace(data: ReportData) -> Markup:
    if data.measured is None or data.prediction is None:
        return Markup("")
    drawn = pace(data.measured.each_step, data.prediction.interval)
    return fragment(element("h3", "Every step"), drawn) if drawn else drawn


def _sides(data: ReportData) -> str:
    drawn = end_of(data.measured_lanes)
    if not (end_of(data.predicted_lanes) > 0 and drawn > 0):
        return ""
    said = "Predicted above, pale; measured below, full. Hatched is idle: the bubble."
    steady = data.measured.step_seconds if data.measured else drawn
    if abs(drawn - steady) <= _TYPICAL * steady:
        return said
    return f"{said}\nThe step drawn took {seconds(drawn)}; a steady one takes {seconds(steady)}."


def _samples(samples: Sequence[Sample]) -> Markup:
    found = [element("pre", element("code", element("b", one.prompt), one.text)) for one in samples]
    return element("div", *found, class_="samples") if found else Markup("")

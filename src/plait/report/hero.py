"""The head of the page: whose run it is, the promise and what became of it in a sentence, and its few main figures.

    [plait]  NAME                                     date
    The plan said 312 ms a step. It took 325 ms: the prediction is 4.0 % too short.
    | step 325 ms ├─┼●─┤ | loss 2.40 | 12,600 tokens/s | 412 MiB | the same model |

A figure whose numbers are absent is absent. It knows the report's data, and what of it matters most.
"""

from __future__ import annotations

from collections.abc import Iterator

from plait.report.comparison import error_of
from plait.report.curve import bits_per_byte
from plait.report.data import JobSummary, Learning, Measured, ReportData
from plait.report.figures import count, decimal, percent, rate, seconds, size
from plait.report.markup import Markup
from plait.report.masthead import machine_facts, masthead, tile
from plait.report.strips import gauge, interval, spark
from plait.report.verdicts import is_same_model

__all__ = ["hero", "promise"]


def hero(data: ReportData) -> Markup:
    """Title, facts, the promise and the main figures."""
    facts = [*_job_facts(data.job), *machine_facts(data.machine)]
    return masthead(data.name, data.date, facts, promise(data), _tiles(data))


def promise(data: ReportData) -> str:
    """What the plan said and what happened; empty where nothing was said."""
    if data.prediction is None:
        return ""
    before = data.prediction.step_seconds
    if data.measured is None:
        return f"The plan says {seconds(before)} a step."
    error = error_of(before, data.measured.step_seconds)
    how = "" if error is None else f": the prediction is {_wrong(error)}"
    return f"The plan said {seconds(before)} a step. It took {seconds(data.measured.step_seconds)}{how}."


def _wrong(error: float) -> str:
    size_of_it = percent(abs(error))
    return "exact" if error == 0 else f"{size_of_it} too {'long' if error > 0 else 'short'}"


def _job_facts(job: JobSummary | None) -> Iterator[str]:
    if job is None:
        return
    yield f"{count(job.parameters)} parameters"
    yield f"{count(job.tokens_per_step)} tokens a step"
    yield f"{count(job.steps)} step" + ("" if job.steps == 1 else "s")
    yield from job.details


def _tiles(data: ReportData) -> Iterator[Markup]:
    if data.prediction or data.measured:
        yield _step_tile(data)
    if data.learning and data.learning.validation:
        yield _loss_tile(data.learning)
    if data.measured:
        yield _throughput_tile(data, data.measured)
    yield from _memory_tile(data)
    if data.verdict:
        answer = "yes" if is_same_model(data.verdict) else "no"
        yield tile("same model as one device?", answer, data.verdict.verdict, class_=answer)


def _step_tile(data: ReportData) -> Markup:
    if data.prediction is None:
        return tile("step", seconds(data.measured.step_seconds) if data.measured else "", "measured")
    low, high = data.prediction.interval
    between = f"{seconds(low)} to {seconds(high)}"
    if data.measured is None:
        return tile("step", seconds(data.prediction.step_seconds), f"predicted, {between}")
    below = f"predicted {seconds(data.prediction.step_seconds)}, {between}"
    drawing = interval((low, data.prediction.step_seconds, high), data.measured.step_seconds)
    return tile("step", seconds(data.measured.step_seconds), below, drawing)


def _throughput_tile(data: ReportData, measured: Measured) -> Markup:
    below, drawing = "tokens a second", Markup("")
    if data.prediction and data.job and data.prediction.step_seconds > 0:
        predicted = data.job.tokens_per_step / data.prediction.step_seconds
        below += f", predicted {rate(predicted)}"
        drawing = gauge(predicted, measured.tokens_per_second)
    return tile("throughput", rate(measured.tokens_per_second), below, drawing)


def _loss_tile(learning: Learning) -> Markup:
    first, last = learning.validation[0][1], learning.validation[-1][1]
    below = f"from {decimal(first)} before"
    if learning.bytes_per_token:
        below = f"{decimal(bits_per_byte(last, learning.bytes_per_token))} bits per byte, {below}"
    return tile("held-out loss", decimal(last), below, spark(learning))


def _memory_tile(data: ReportData) -> Iterator[Markup]:
    predicted = max(data.prediction.memory_bytes, default=0) if data.prediction else 0
    measured = max(data.measured.memory_bytes, default=0) if data.measured else 0
    if measured:
        below = f"predicted {size(predicted)}" if predicted else "measured"
        limit = data.memory_limit or 0
        below += f", limit {size(limit)}" if limit else ""
        yield tile("memory, fullest rank", size(measured), below, gauge(predicted, measured, limit))
    elif predicted:
        yield tile("memory, fullest rank", size(predicted), "predicted")

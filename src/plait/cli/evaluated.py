"""What `plait evaluate` tells people: by source, by group, what could not be predicted; of a short file each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean, median
from typing import TYPE_CHECKING

from plait.cli.output import Line
from plait.cli.tables import columns, difference
from plait.specs.wording import counted
from plait.units import Seconds

if TYPE_CHECKING:
    from plait.evaluation.evaluate import Evaluation, Judged
    from plait.evaluation.groups import Group, Order
    from plait.evaluation.out_of_memory import OutOfMemory
    from plait.evaluation.scores import Errors, Found

__all__ = ["evaluation_lines"]

_SHOWN = 8  # groups, and reasons to skip a row
_FEW_ROWS = 20  # of which each is told
_ANSWERS = {"fits": "", "uncertain": "may run out: ", "runs_out": "runs out: "}  # before what would be held
_COMPARED = 5  # runs of a group whose order means something; of one job: that predictions tell apart


def evaluation_lines(found: Evaluation) -> Iterator[Line]:
    """All of it, errors first; of a short file each row's before them."""
    if len(found.judged) <= _FEW_ROWS:
        yield from _row_lines([one for one in found.judged if one.skipped is None])
    yield [
        ("bold", "step time"),
        ("dim", "   |predicted / measured - 1|, beside one efficiency a source fitted to the rows"),
    ]
    head = ("", "runs", "median", "mean", "bias", "constant: median", "mean")
    sources = sorted(found.sources, key=lambda one: -(one.time.median if one.time else -1))
    rows = [
        (one.name[:44], *_cells(one.time), *_cells(one.constant, short=True)) for one in sources if one.time is not None
    ]
    yield from _table([head, *rows, ("all", *_cells(found.time), *_cells(found.constant, short=True))])
    yield from _memory_lines(found)
    yield from _out_of_memory_lines(found.out_of_memory)
    yield from _group_lines("order within a group", found.groups, lambda one: one.n, "runs")
    yield from _group_lines(
        "order of plans of one job", found.same_job, lambda one: one.predicted.told_apart, "different predictions"
    )
    if found.within is not None:
        yield [("", f"{found.within:.0%} of the measured times lie within their interval")]
    yield from _unread_lines(found)
    yield from _skipped_lines(found)


def _row_lines(judged: Sequence[Judged]) -> Iterator[Line]:
    if not judged:
        return
    head = ("run", "measured", "predicted", "80% within", "error", "constant", "error", "memory: measured", "predicted")
    yield from _table([head, *map(_row_cells, judged)])
    yield []


def _row_cells(one: Judged) -> tuple[str, ...]:
    from plait.evaluation.out_of_memory import answer

    measured, memory = one.row.number("iter_s"), one.memory_pair
    assert one.seconds is not None
    assert one.interval is not None
    assert one.gibibytes is not None
    assert one.runs_out is not None
    held = "ran out" if one.ran_out else f"{memory[1]:.3g} GiB" if memory else ""
    low, high = map(Seconds, one.interval)
    return (
        one.row.case[:44] + (f" (its link {' and '.join(sorted(one.assumed))} assumed)" if one.assumed else ""),
        "" if measured is None else str(Seconds(measured)),
        str(Seconds(one.seconds)),
        f"{low} to {high}",
        "" if one.pair is None else difference(*one.pair),
        "" if one.constant is None else str(Seconds(one.constant)),
        "" if one.constant_pair is None else difference(*one.constant_pair),
        held,
        f"{_ANSWERS[answer(one.runs_out)]}{one.gibibytes:.3g} GiB",
    )


def _cells(errors: Errors | None, *, short: bool = False) -> tuple[str, ...]:
    if errors is None:
        return ("", "") if short else ("0", "", "", "")
    sizes = (f"{errors.median:.1%}", f"{errors.mean:.1%}")
    return sizes if short else (str(errors.n), *sizes, f"{errors.bias:+.1%}")


def _memory_lines(found: Evaluation) -> Iterator[Line]:
    rows = [(one.name[:44], *_cells(one.memory)) for one in found.sources if one.memory is not None]
    if not rows:
        return
    yield []
    yield [("bold", "memory"), ("dim", "   of which a fitted constant predicts nothing")]
    yield from _table([("", "runs", "median", "mean", "bias"), *rows])


def _out_of_memory_lines(found: OutOfMemory) -> Iterator[Line]:
    """How many ran and ran out, by what was said of them; nothing where all fitted and were said to."""
    from plait.estimates.estimate import RISK
    from plait.evaluation.out_of_memory import FLAGGED

    if not found.n and not found.ran["uncertain"] and not found.ran["runs_out"]:
        return
    yield []
    skipped = f", {found.skipped} of them in rows that were not predicted" if found.skipped else ""
    yield [
        ("bold", "out of memory"),
        ("dim", f"   {counted(found.n, 'run')} ran out{skipped}; a fitted constant predicts none"),
    ]
    said = {"fits": f"fits: up to {RISK:.0%}", "uncertain": "uncertain", "runs_out": f"runs out: above {FLAGGED:.0%}"}
    counts = [(words, str(found.ran[name]), str(found.ran_out[name])) for name, words in said.items()]
    yield from _table([("predicted probability", "ran", "ran out"), *counts])
    yield [("", f"said to run out: {_found(found.flagged)}; {_found(found.certain)} without what is uncertain")]
    yield [("", f"refused by `plait plan`, above {RISK:.0%}: {_found(found.refused)}")]


def _found(found: Found) -> str:
    told = ("none" if part is None else f"{part:.0%}" for part in (found.precision, found.recall))
    return "precision {}, recall {}".format(*told)


def _group_lines(title: str, groups: Sequence[Group], size: Callable[[Group], int], of_what: str) -> Iterator[Line]:
    """The worst orders, of groups that have enough `of_what` for one; and how many have not."""
    small = sum(size(one) < _COMPARED for one in groups)
    few = f"{counted(small, 'group')} of fewer than {_COMPARED} {of_what}: --json has {'it' if small == 1 else 'them'}"
    compared = [one for one in groups if size(one) >= _COMPARED and one.predicted.tau is not None]
    if compared:
        yield from _order_lines(title, compared)
        if small:
            yield [("dim", f"and {few}")]
    elif small:
        yield []
        yield [("bold", title), ("dim", f"   {few}")]


def _order_lines(title: str, compared: Sequence[Group]) -> Iterator[Line]:
    yield []
    few = f"the worst of {len(compared)} of {_COMPARED} plans or more"
    yield [("bold", title), ("dim", f"   {few}; {_orders([one.predicted for one in compared])}")]
    constant = _orders([one.constant for one in compared])
    yield [("dim", f"the fitted constant: {constant}; where it tells no plans apart, what drawing lots yields")]
    worst = sorted(compared, key=lambda one: (one.predicted.tau or 0, -one.predicted.regret))[:_SHOWN]
    head = ("", "devices", "plans", "tau", "regret", "constant: tau", "regret")
    rows = [
        (
            f"{one.source[:30]}  {one.model[:22]}",
            str(one.n_gpus),
            str(one.n),
            *_order(one.predicted),
            *_order(one.constant),
        )
        for one in worst
    ]
    yield from _table([head, *rows])


def _orders(orders: Sequence[Order]) -> str:
    taus = [one.tau for one in orders if one.tau is not None]
    return f"median tau {median(taus):.2f}, mean regret {fmean(one.regret for one in orders):.1%}"


def _order(one: Order) -> tuple[str, str]:
    return "" if one.tau is None else f"{one.tau:.2f}", f"{one.regret:.1%}"


def _skipped_lines(found: Evaluation) -> Iterator[Line]:
    reasons = Counter(one.skipped for one in found.skipped if one.skipped)
    if not found.judged:
        yield [("yellow", "the file names columns and has no row below them")]
    if repeated := sum(one.row.repeats is not None for one in found.judged):
        yield [("yellow", f"{counted(repeated, 'row')} with the very cells of an earlier line, counted once more")]
    if not reasons:
        return
    yield []
    yield [("yellow", f"{len(found.skipped)} of {len(found.judged)} rows were not predicted:")]
    for reason, count in reasons.most_common(_SHOWN):
        yield [("yellow", f"  {count:4} {reason}")]
    if len(reasons) > _SHOWN:
        yield [("dim", f"  and {len(reasons) - _SHOWN} reasons more (--json has them all)")]


def _unread_lines(found: Evaluation) -> Iterator[Line]:
    """What rows state in words that nobody knows."""
    words = Counter(one for judged in found.judged for one in judged.unread)
    if not words:
        return
    yield []
    yield [("yellow", "in words that are not known, and priced as if the cells were empty:")]
    yield from ([("yellow", f"  {count:4} {cell}")] for cell, count in words.most_common(_SHOWN))
    if len(words) > _SHOWN:
        yield [("dim", f"  and {len(words) - _SHOWN} more (--json has them all)")]


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[Line]:
    head, *others = columns(rows)
    yield [("dim", head)]
    yield from ([("", line)] for line in others)

"""Ranked plans as every planner's answer shows them: a document each; a line each, or one for those that are as fast.

    data 64 × tensor 8 × pipeline 16, ...    6.76 s     best
      and 1 more within 0.1% (place 2): data 32, context 4, microbatch 2
    data 1024 × tensor 16, ZeRO 3            6.79 s     tensor 16 crosses the node: ...
      and 2 more within 0.1% (places 4 to 5): data 512, context 2, microbatch 4; data 256, context 4, microbatch 8

Who asks for so many plans (--top) gets a line for each of them. Places are those of --explain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any

from plait.cli.output import Line
from plait.cli.tables import columns
from plait.units import Bytes, Seconds

if TYPE_CHECKING:
    from plait.clusters.answer import ClusterPlan
    from plait.planner.search import RankedPlan

    _Ranked = RankedPlan | ClusterPlan

__all__ = ["SHOWN", "ranked_document", "ranked_lines"]

SHOWN = 10  # lines of plans in the table for people; the document has them all
_ALIKE = 0.001  # of a step: no prediction tells plans apart that are closer
_TOLD = 3  # of these, what they differ in


def ranked_document(one: _Ranked) -> dict[str, Any]:
    """What the contract's `plan` document says of each plan, whoever ranked it."""
    from plait.plans.files import plan_table

    predicted = one.prediction
    return {
        "plan": plan_table(one.plan),
        "step_seconds": predicted.step_seconds,
        "interval": list(predicted.interval),
        "memory_bytes": list(predicted.memory_bytes),
        "out_of_memory": one.risk,
        "terms": asdict(predicted.terms),
        "lost_because": one.lost_because,
    }


def ranked_lines(plans: Sequence[_Ranked], top: int | None) -> Iterator[Line]:
    """The first `top` plans in a table, or the first few that differ, each with those that are as fast; and how many
    more there are."""
    each = (range(place, place + 1) for place in range(len(plans)))
    runs = list(islice(_runs(plans) if top is None else each, top or SHOWN))
    head, first, *others = columns([_HEAD, *(_row(plans[run[0]]) for run in runs)], words=(0, len(_HEAD) - 1))
    yield [("dim", head)]
    for run, line, style in zip(runs, (first, *others), ("bold green", *("" for _ in others)), strict=True):
        yield [(style, line)]
        if len(run) > 1:
            yield [("dim", _as_fast(run, plans))]
    if (left := len(plans) - runs[-1].stop) > 0:
        yield [("dim", f"… and {left} more (--top {len(plans)})")]


def _runs(plans: Sequence[_Ranked]) -> Iterator[range]:
    """The places of plans that follow one another and are as fast as the first of them; of as many plans as it takes
    until nobody asks for more."""
    first = 0
    for place, one in enumerate(plans):
        if abs(one.step_seconds / plans[first].step_seconds - 1) > _ALIKE:
            yield range(first, place)
            first = place
    yield range(first, len(plans))


def _as_fast(run: range, plans: Sequence[_Ranked]) -> str:
    """How many more there are in a run than its first, at which places, and in what these differ from it."""
    from plait.plans.differences import plan_difference

    leader, *alike = (plans[place].plan for place in run)
    told = [plan_difference(one, leader) for one in alike[:_TOLD]]
    told += ["…"] if len(alike) > _TOLD else []
    places = f"places {run[0] + 2} to {run.stop}" if len(alike) > 1 else f"place {run.stop}"
    return f"  and {len(alike)} more within {_ALIKE:.1%} ({places}): {'; '.join(told)}"


_HEAD = ("plan", "step", "", "memory a rank", "why it lost")


def _row(one: _Ranked) -> tuple[str, ...]:
    from plait.plans.describe import plan_name

    predicted = one.prediction
    spread = predicted.interval[1] / predicted.step_seconds - 1
    largest = str(Bytes(max(predicted.memory_bytes)))
    reason = one.lost_because or "best"
    return plan_name(one.plan), str(Seconds(predicted.step_seconds)), f"±{spread:.0%}", largest, reason

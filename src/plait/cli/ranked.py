"""Ranked plans as every planner's answer shows them: a document each, a line each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from plait.cli.output import Line
from plait.cli.tables import columns
from plait.units import Bytes, Seconds

if TYPE_CHECKING:
    from plait.clusters.answer import ClusterPlan
    from plait.planner.search import RankedPlan

    _Ranked = RankedPlan | ClusterPlan

__all__ = ["SHOWN", "ranked_document", "ranked_lines"]

SHOWN = 10  # plans in the table for people; the document has them all


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


def ranked_lines(plans: Sequence[_Ranked], top: int) -> Iterator[Line]:
    """The first `top` plans in a table, and how many more there are."""
    yield from _table_lines(("plan", "step", "", "memory a rank", "why it lost"), [_row(one) for one in plans[:top]])
    if len(plans) > top:
        yield [("dim", f"… and {len(plans) - top} more (--top {len(plans)})")]


def _table_lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[Line]:
    """Lines under a head, the first of them the best; the first column and the last are words."""
    for place, line in enumerate(columns([head, *rows], words=(0, len(head) - 1))):
        yield [(("dim", "bold green", "")[min(place, 2)], line)]


def _row(one: _Ranked) -> tuple[str, ...]:
    from plait.plans.describe import plan_name

    predicted = one.prediction
    spread = predicted.interval[1] / predicted.step_seconds - 1
    largest = str(Bytes(max(predicted.memory_bytes)))
    reason = one.lost_because or "best"
    return plan_name(one.plan), str(Seconds(predicted.step_seconds)), f"±{spread:.0%}", largest, reason

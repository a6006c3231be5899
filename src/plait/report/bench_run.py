"""What a bench left on disk, read into what its page is drawn from.

    runs/bench/bench.json    {"plans": [{"name", "predicted": M, "measured": M, "each_repeat", "interval", "spread",
                             "departures", "guesses"}], "failed": [{"plan", "error"}], "agreement", "machine", "date",
                             "times_as_long"}

M as the contract has it. It knows the file, and no picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plait.plans.agreement import Agreement
from plait.plans.departures import drifted
from plait.plans.describe import plan_name
from plait.plans.plan import Plan
from plait.plans.prediction import Terms
from plait.report.data import Machine
from plait.report.documents import document, reading
from plait.specs.tables import with_tuples

__all__ = ["BenchData", "Contender", "Side", "bench_data"]


@dataclass(frozen=True, kw_only=True)
class Side:
    """What was predicted or measured of a plan; `memory_bytes` of each rank."""

    step_seconds: float
    terms: Terms
    memory_bytes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One plan on both sides; `repeats`: the step's seconds in each round."""

    name: str
    predicted: Side
    measured: Side
    interval: tuple[float, float]
    repeats: tuple[float, ...]
    spread: float
    departures: tuple[str, ...]
    guesses: tuple[str, ...]

    @property
    def error(self) -> float:
        """(predicted − measured) / measured."""
        return self.predicted.step_seconds / self.measured.step_seconds - 1


@dataclass(frozen=True, kw_only=True)
class BenchData:
    """A whole bench: `plans` by measured step, the fastest first; `failed`: names and why; `drift`: how the machine was
    beside its profile, in words, where that explains something."""

    name: str
    date: str
    machine: Machine | None
    plans: tuple[Contender, ...]
    failed: tuple[tuple[str, str], ...]
    agreement: Agreement | None
    repeat_spread: float
    drift: str | None = None


def bench_data(run_directory: Path) -> BenchData:
    """Everything that the bench left. Raises UnusableInput where its document can't be used."""
    path = run_directory / "bench.json"
    table = document(path, default={})
    with reading(path):
        plans = (_contender(one) for one in table["plans"])
        agreed = dict(table["agreement"] or {})
        spread = float(agreed.pop("repeat_spread", 0.0))
        machine = table.get("machine")
        return BenchData(
            name=run_directory.resolve().name,
            date=str(table.get("date", "")),
            machine=None if machine is None else Machine(**machine),
            plans=tuple(sorted(plans, key=lambda one: one.measured.step_seconds)),
            failed=tuple((plan_name(Plan(**with_tuples(one["plan"]))), str(one["error"])) for one in table["failed"]),
            agreement=Agreement(**agreed) if agreed else None,
            repeat_spread=spread,
            drift=drifted(table.get("times_as_long")),
        )


def _contender(table: Mapping[str, Any]) -> Contender:
    low, high = table["interval"]
    return Contender(
        name=str(table["name"]),
        predicted=_side(table["predicted"]),
        measured=_side(table["measured"]),
        interval=(float(low), float(high)),
        repeats=tuple(map(float, table["each_repeat"])),
        spread=float(table["spread"]),
        departures=tuple(str(one["words"]) for one in table["departures"]),
        guesses=tuple(map(str, table["guesses"])),
    )


def _side(table: Mapping[str, Any]) -> Side:
    terms = Terms(**{name: table[name] for name in ("compute", "bubble", "optimizer", "exposed")})
    memory = tuple(map(int, table["memory_bytes"]))
    return Side(step_seconds=float(table["step_seconds"]), terms=terms, memory_bytes=memory)

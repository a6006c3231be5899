"""What is said of a plan before it runs: time by its terms, memory and FLOPs by rank, every message by axis and kind.

    step = compute + bubble + optimizer + exposed[data] + exposed[tensor] + exposed[pipeline]      (the slowest rank)

Only the planner makes one; trainer and report lay it beside what was measured, term by term. Here is only data and its
form as JSON or TOML tables: how a number is arrived at stands in the planner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

from plait.errors import UnusableInput
from plait.sharding.redistribute import CollectiveKind

__all__ = ["Prediction", "Terms", "Traffic", "Work", "prediction_from_table", "prediction_table"]


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Where the seconds of a step go; `exposed` is the communication of each axis that nothing hides."""

    compute: float
    bubble: float
    optimizer: float
    exposed: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """All of them."""
        return self.compute + self.bubble + self.optimizer + sum(self.exposed.values())


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """`count` messages in a step of one kind along one axis, each of `bytes` of logical payload."""

    axis: str
    kind: CollectiveKind
    bytes: int
    count: int


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one rank does in a steady step and holds after it: all of it exact. FLOPs of forward by layer; sizes in
    bytes, those of the optimizer without master copies."""

    forward_flops: Mapping[str, int]
    backward_flops: int
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    residual_bytes: int
    collectives: tuple[Traffic, ...]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What one steady step takes. `interval` bounds `step_seconds`; tuples have one entry a rank; sizes in bytes.

    `terms` are those of the stage with the most work; `stages` has every stage's own, and
    `transfers` what each waits for bytes that are on their way, a part of its bubble; where they are known."""

    step_seconds: float
    interval: tuple[float, float]
    terms: Terms
    memory_bytes: tuple[int, ...]
    weight_bytes: tuple[int, ...]
    gradient_bytes: tuple[int, ...]
    optimizer_bytes: tuple[int, ...]
    activation_bytes: tuple[int, ...]
    flops: tuple[int, ...]
    collectives: tuple[tuple[Traffic, ...], ...]
    stages: tuple[Terms, ...] = ()
    transfers: tuple[float, ...] = ()

    @property
    def ranks(self) -> int:
        """How many ranks it speaks of."""
        return len(self.memory_bytes)


def prediction_table(prediction: Prediction) -> dict[str, Any]:
    """The prediction as tables, lists and numbers, ready for JSON or TOML."""
    return asdict(prediction)


def prediction_from_table(table: Mapping[str, Any]) -> Prediction:
    """The prediction that `prediction_table` wrote; raises UnusableInput naming what is missing or malformed."""
    try:
        terms, *stages = (_terms(one) for one in (table["terms"], *table.get("stages", ())))
        ranks = cast("Sequence[Sequence[Mapping[str, Any]]]", table["collectives"])
        collectives = tuple(tuple(Traffic(**{n: one[n] for n in _names(Traffic)}) for one in rank) for rank in ranks)
        low, high = table["interval"]
        by_rank = {n: tuple(table[n]) for n in _names(Prediction) if n.endswith("_bytes") or n == "flops"}
        step = float(table["step_seconds"])
    except KeyError as error:
        raise UnusableInput(f"a prediction without {error.args[0]}") from error
    except (TypeError, ValueError) as error:
        raise UnusableInput(f"a malformed prediction: {error}") from error
    return Prediction(
        step_seconds=step,
        interval=(low, high),
        terms=terms,
        collectives=collectives,
        stages=tuple(stages),
        transfers=tuple(table.get("transfers", ())),
        **by_rank,
    )


def _terms(table: Mapping[str, Any]) -> Terms:
    return Terms(**{name: table[name] for name in _names(Terms)})


def _names(kind: type[Terms] | type[Traffic] | type[Prediction]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))

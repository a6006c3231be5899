"""How a training run ended, and its form as a table: on several hosts rank 0 tells it to the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from plait.plans.prediction import Prediction, prediction_from_table, prediction_table
from plait.training.run_directory import RunDirectory

__all__ = ["Measured", "TrainingResult", "result_from_table", "result_table"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a run measured, in the terms of its prediction; tuples have one entry a rank.

    `step_seconds` is the ranks' mean, the terms are those of the rank that computes longest; each is a median over
    steps, so that the terms add up to the step nearly, not exactly.
    """

    step_seconds: float
    compute: float
    bubble: float
    optimizer: float
    exposed: Mapping[str, float]
    memory_bytes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """How a run ended. `validations`: (step, mean loss in nats per token) before, during and after.
    `periods`: where replicas meet once in several steps, over how many whole such periods the step was measured."""

    run: RunDirectory
    steps: int
    validations: tuple[tuple[int, float], ...]
    tokens_per_second: float
    prediction: Prediction
    measured: Measured
    periods: int | None = None


def result_table(result: TrainingResult) -> dict[str, Any]:
    """All but the run's directory, ready for JSON."""
    return {
        "steps": result.steps,
        "validations": [list(pair) for pair in result.validations],
        "tokens_per_second": result.tokens_per_second,
        "prediction": prediction_table(result.prediction),
        "measured": asdict(result.measured),
        "periods": result.periods,
    }


def result_from_table(run: RunDirectory, table: Mapping[str, Any]) -> TrainingResult:
    """The result that `result_table` wrote, of the run in `run`; raises UnusableInput for a malformed prediction."""
    measured = {**table["measured"], "memory_bytes": tuple(table["measured"]["memory_bytes"])}
    return TrainingResult(
        run=run,
        steps=table["steps"],
        validations=tuple((step, loss) for step, loss in table["validations"]),
        tokens_per_second=table["tokens_per_second"],
        prediction=prediction_from_table(table["prediction"]),
        measured=Measured(**measured),
        periods=table["periods"],
    )

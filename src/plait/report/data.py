"""What a report is drawn from: everything already computed, nothing that has to be looked up.

    ReportData ─ name, date, machine, job         who ran what, where
               ├ verdict                          whether it is the same model
               ├ prediction, predicted_lanes      what was said before
               ├ measured, measured_lanes         what happened
               └ learning, samples, commands      what came out, and how to do it again

Every part but the name may be absent; the page then leaves no hole. It knows no file (`run`) and no picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from plait.plans.plan import Plan
from plait.plans.prediction import Prediction, Terms
from plait.report.spans import Lane

__all__ = [
    "JobSummary",
    "Learning",
    "Machine",
    "Measured",
    "RankedPlan",
    "ReportData",
    "Sample",
    "Search",
    "StepLoss",
    "Verdict",
]

StepLoss = tuple[int, float]  # a step and the mean loss of a token in it, in nats


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where it ran; `memory_bytes` of the whole machine, 0 when unknown."""

    processor: str
    cores: int
    memory_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class JobSummary:
    """The job in three numbers, with `details` in words for whoever wants more."""

    parameters: int
    tokens_per_step: int
    steps: int
    details: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RankedPlan:
    """One plan of the search: seconds a step with their bounds, bytes of each rank, where the seconds go, and why it
    lost (None: it won)."""

    plan: Plan
    step_seconds: float
    interval: tuple[float, float]
    memory_bytes: tuple[int, ...]
    terms: Terms | None = None
    lost_because: str | None = None


@dataclass(frozen=True, kw_only=True)
class Search:
    """The plans, best first, and how many were looked at to find them; `more`: ranked behind those that stand here."""

    plans: tuple[RankedPlan, ...]
    considered: int
    legal: int
    search_seconds: float
    too_close_to_call: bool = False
    more: int = 0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a steady step took, in a prediction's own terms; `memory_bytes` is each rank's peak, `each_step` the seconds
    of every step, the unsteady ones too; `stages` and `transfers` as a prediction has them; `other_cores` those that
    other programs kept busy meanwhile."""

    step_seconds: float
    tokens_per_second: float
    terms: Terms | None = None
    memory_bytes: tuple[int, ...] = ()
    each_step: tuple[tuple[int, float], ...] = ()
    stages: tuple[Terms, ...] = ()
    transfers: tuple[float, ...] = ()
    other_cores: float | None = None


@dataclass(frozen=True, kw_only=True)
class Learning:
    """Losses by step, in nats a token. `bytes_per_token` of the held-out text turns them into bits per byte; a
    baseline is the held-out loss of something simpler."""

    train: tuple[StepLoss, ...]
    validation: tuple[StepLoss, ...] = ()
    bytes_per_token: float | None = None
    baselines: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What verify said, and the sentence that explains it."""

    verdict: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What the model wrote after a prompt."""

    prompt: str
    text: str


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """All of one run. Lanes go by the rank of one pipeline and begin at second 0 of one step; sizes in bytes."""

    name: str
    date: str = ""
    machine: Machine | None = None
    job: JobSummary | None = None
    plan: Plan | None = None
    search: Search | None = None
    verdict: Verdict | None = None
    prediction: Prediction | None = None
    predicted_lanes: tuple[Lane, ...] = ()
    measured: Measured | None = None
    measured_lanes: tuple[Lane, ...] = ()
    memory_limit: int | None = None
    learning: Learning | None = None
    samples: tuple[Sample, ...] = ()
    commands: tuple[str, ...] = ()
    guesses: tuple[str, ...] = ()  # where the prediction lies outside what was measured of the machine

"""A run that could have been: 4 ranks, 2 replicas of 2 stages, 200 steps. Every report test draws from it.

The timelines come from the simulator; "measured" is the same schedule with each action a little slower or faster, by a
fixed pattern. Losses fall as losses do. Nothing here is random, so that two renderings are equal byte by byte.
"""

from __future__ import annotations

from math import exp, sin

from plait.plans.plan import Plan
from plait.plans.prediction import Prediction, Terms
from plait.report.data import (
    JobSummary,
    Learning,
    Machine,
    Measured,
    RankedPlan,
    ReportData,
    Sample,
    Search,
    Verdict,
)
from plait.report.spans import Lane, Span, lane_from_rows
from plait.schedules.action import Action, Kind
from plait.schedules.registry import build_schedule
from plait.schedules.timeline import simulate

__all__ = ["example", "lanes", "losses", "prediction"]

MIB = 2**20
PLAN = Plan(data=2, pipeline=2, stages=(4, 4), microbatch=2, schedule="1f1b", data_shares=(1, 1), bucket_bytes=4 * MIB)
SECONDS = {Kind.F: 0.01655, Kind.B: 0.0338}
CODE = '''self, name, default=0):
    """Return the value of the named attribute."""
    if name in self._cache:
        return self._cache[name]
    value = getattr(self._target, name, default)
    self._cache[name] = value
    return value
'''


def jitter(seed: float) -> float:
    """A fixed pattern between -1 and 1."""
    return sin(seed * 12.9898) * sin(seed * 78.233)


def lanes(stages: int = 2, microbatches: int = 4, slower: float = 0.0, kind: str = "1f1b") -> tuple[Lane, ...]:
    """One step as spans: the schedule, then the sums of the gradients, then the optimizer."""

    def computing(action: Action) -> float:
        head = 1.16 if action.stage == stages - 1 else 1.0
        wobble = 1 + slower * (1 + jitter(action.stage * 7 + action.microbatch + 3 * (action.kind == "B")))
        return SECONDS[action.kind] * head * wobble

    timeline = simulate(build_schedule(kind, stages, microbatches), computing, lambda _: 0.0021 * (1 + 4 * slower))
    rows = [[(str(action), start, end) for action, start, end in timed] for timed in timeline.ranks]
    return tuple(_with_tail(lane_from_rows(one), slower) for one in rows)


def _with_tail(lane: Lane, slower: float) -> Lane:
    end = lane[-1].end
    summed = end + 0.0118 * (1 + 5 * slower)
    sums = Span(kind="data", name="data", start=end, end=summed)
    return (*lane, sums, Span(kind="optimizer", name="optimizer", start=summed, end=summed + 0.0093))


def losses(steps: int = 200, vocab_loss: float = 8.3) -> tuple[tuple[int, float], ...]:
    """A training loss for each step, from 1."""
    return tuple((s, 2.6 + (vocab_loss - 2.6) * exp(-s / 38) + 0.42 * jitter(s)) for s in range(1, steps + 1))


def each_step(steps: int = 200) -> tuple[tuple[int, float], ...]:
    """Seconds of each step: the first ones warm up, a few are disturbed."""
    return tuple(
        (s, 0.3366 * (1 + 0.05 * jitter(s) + 0.5 * exp(-s / 1.5) + 0.16 * (s % 61 == 40))) for s in range(1, steps + 1)
    )


def terms(step: float, compute: float, **exposed: float) -> Terms:
    """Terms that sum to the step: the bubble is what the others leave."""
    return Terms(
        compute=compute, bubble=step - compute - 0.0093 - sum(exposed.values()), optimizer=0.0093, exposed=exposed
    )


def prediction(ranks: int = 4, step: float = 0.3156) -> Prediction:
    """A prediction for so many ranks."""
    return Prediction(
        step_seconds=step,
        interval=(step * 0.94, step * 1.06),
        terms=terms(step, compute=0.74 * step, data=0.0118, pipeline=0.0063),
        memory_bytes=tuple((196 - 22 * (rank >= ranks / 2)) * MIB for rank in range(ranks)),
        weight_bytes=(24 * MIB,) * ranks,
        gradient_bytes=(24 * MIB,) * ranks,
        optimizer_bytes=(48 * MIB,) * ranks,
        activation_bytes=tuple((88 - 30 * (rank >= ranks / 2)) * MIB for rank in range(ranks)),
        flops=(41_000_000_000,) * ranks,
        collectives=((),) * ranks,
    )


def _ranked(plan: Plan, step: float, mib: int, why: str | None, **exposed: float) -> RankedPlan:
    bubble = {1: 0.0, 2: 0.052, 4: 0.089}[plan.pipeline]
    return RankedPlan(
        plan=plan,
        step_seconds=step,
        interval=(step * 0.94, step * 1.06),
        memory_bytes=(mib * MIB,) * plan.ranks,
        terms=terms(step, compute=step - bubble - 0.0093 - sum(exposed.values()), **exposed),
        lost_because=why,
    )


def _search() -> Search:
    quarter, halves = (1, 1, 1, 1), (1, 1)
    plans = (
        _ranked(PLAN, 0.3156, 196, None, data=0.0118, pipeline=0.0063),
        _ranked(Plan(data=4, stages=(8,), microbatch=4, data_shares=quarter), 0.324, 262,
                "each rank sums all gradients: +38 ms of exposed communication", data=0.0492),
        _ranked(Plan(pipeline=4, stages=(2, 2, 2, 2), microbatch=2), 0.347, 141,
                "bubble 26 % at 8 microbatches", pipeline=0.0121),
        _ranked(Plan(data=2, tensor=2, stages=(8,), microbatch=4, data_shares=halves, tensor_shares=halves), 0.402, 171,
                "32 tensor messages a step: +91 ms of exposed communication", tensor=0.0912,
                data=0.0103),
        _ranked(Plan(tensor=2, pipeline=2, stages=(4, 4), microbatch=2, tensor_shares=halves), 0.431, 128,
                "64 tensor messages a step: +117 ms of exposed communication", tensor=0.1171,
                pipeline=0.0061),
        _ranked(Plan(tensor=4, stages=(8,), microbatch=8, tensor_shares=quarter), 0.618, 118,
                "tensor messages of every layer over 4 ranks: +302 ms", tensor=0.3021),
    )  # fmt: skip
    return Search(plans=plans, considered=1428, legal=61, search_seconds=0.214)


def _learning() -> Learning:
    held_out = ((0, 8.334), (50, 4.291), (100, 3.207), (150, 2.861), (200, 2.744))
    return Learning(train=losses(), validation=held_out, bytes_per_token=3.12, baselines={"interpolated bigram": 3.62})


def example() -> ReportData:
    """All of the run."""
    return ReportData(
        name="demo",
        date="21 November 2025, 14:05",
        machine=Machine(processor="AMD EPYC 9B14", cores=2, memory_bytes=24 * 2**30),
        job=JobSummary(
            parameters=3_067_392,
            tokens_per_step=4096,
            steps=200,
            details=("8 layers of 192 features", "4,096 tokens in the vocabulary"),
        ),
        plan=PLAN,
        search=_search(),
        verdict=Verdict(
            verdict="REASSOCIATION",
            sentence="The same, up to the order of sums: 214 tensors compared, the largest error 3.1 eps.",
        ),
        prediction=prediction(),
        predicted_lanes=lanes(),
        measured=Measured(
            step_seconds=0.3366,
            tokens_per_second=12168.7,
            terms=terms(0.3366, compute=0.2462, data=0.0151, pipeline=0.0077),
            memory_bytes=tuple(mib * MIB for mib in (203, 202, 171, 169)),
            each_step=each_step(),
        ),
        measured_lanes=lanes(slower=0.055),
        memory_limit=256 * MIB,
        learning=_learning(),
        samples=(Sample(prompt="def get(", text=CODE), Sample(prompt="class ", text="Handler(object):\n    pass\n")),
        guesses=("2 of 12 products lie outside the measured shapes (the largest: 512 × 32 × 64)",),
        commands=("make demo", "plait plan demo.toml", "plait train demo.toml --plan runs/demo/plan.toml"),
    )

"""What the page of a plan is drawn from: what a search found, or one plan alone, before anything runs.

    PlanPage ─ name, facts, plan, terms            what is planned, of what, and where its seconds go
             ├ search                              the ranked plans, and why the others lost
             ├ lanes, lane_names                   its step: a line a place along the pipeline
             ├ rooms ─ Room ─ bars, limit          what ranks hold; ranks that hold the same are one bar
             ├ cost                                of a step and of the run
             └ changes, thoughts, notes            what would change the answer, what else comes to mind, what to know

It has neither measurements nor a catalogue: a command that plans fills it in. Parts may be absent.
"""

from __future__ import annotations

from dataclasses import dataclass

from plait.plans.plan import Plan
from plait.plans.prediction import Terms
from plait.report.data import Search
from plait.report.memory import Bar
from plait.report.spans import Lane

__all__ = ["Changed", "Cost", "PlanPage", "Room", "Thought"]


@dataclass(frozen=True, kw_only=True)
class Room:
    """Ranks beside the bytes that there are for each of them; None: nobody knows. `title`: which ranks."""

    bars: tuple[Bar, ...]
    limit: int | None
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of a run of `steps`; money in the job's currency, energy in joules. None: nobody said what a device costs, or
    knows its power."""

    steps: int
    run_seconds: float
    run_money: float | None = None
    run_joules: float | None = None


@dataclass(frozen=True, kw_only=True)
class Changed:
    """The machines different in one thing: the plan that would be best then, `same` as now or not, and its step; None
    where nothing would fit."""

    what: str
    plan: Plan | None
    step_seconds: float | None
    same: bool


@dataclass(frozen=True, kw_only=True)
class Thought:
    """A plan that comes to mind, its step where there is one, and why it is not the best."""

    name: str
    why: str
    step_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class PlanPage:
    """All of it. `interval_words`: what the interval of a step means. `lanes` begin at second 0 of a step and end with
    it; each stands for `ranks_a_lane`; where `replicas_differ`, they are the slowest one's. `idle`: the share of the
    schedule in which ranks do not compute."""

    name: str
    facts: tuple[str, ...]
    plan: Plan
    step_seconds: float
    interval: tuple[float, float]
    interval_words: str
    terms: Terms
    tokens_per_step: int
    lanes: tuple[Lane, ...]
    lane_names: tuple[str, ...]
    ranks_a_lane: int
    replicas_differ: bool
    idle: float
    rooms: tuple[Room, ...]
    cost: Cost
    search: Search | None = None
    changes: tuple[Changed, ...] = ()
    thoughts: tuple[Thought, ...] = ()
    notes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

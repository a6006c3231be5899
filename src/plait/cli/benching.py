"""What `plait bench` does, for programs too: predicts the plans, has them measured in turns, leaves the report.

Here planner and runtime meet, as in `api`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.api import measured, plan, report, require_legal
from plait.errors import IllegalJob
from plait.launchers.started import hosts_of, require_hosts
from plait.plans.planned import require_this_machine
from plait.specs.job import Job

if TYPE_CHECKING:
    from plait.plans.plan import Plan
    from plait.specs.measurements import Measurements
    from plait.training.bench import Contest, Entry, OnTurn
    from plait.training.bench_result import BenchResult

__all__ = ["bench"]

_NOTHING: Mapping[Plan, Mapping[str, Any]] = {}
_MOST = 8  # plans, where nobody says how many


def bench(
    job: Job,
    plans: Sequence[Plan] = (),
    *,
    left_open: Mapping[Plan, Mapping[str, Any]] = _NOTHING,
    best: int | None = None,
    repeats: int = 3,
    steps: int = 15,
    run: str | PathLike[str] = "runs/bench",
    record: str | PathLike[str] | None = None,
    measurements: Measurements | None = None,
    on_turn: OnTurn = lambda turn, entry, measured: None,
) -> BenchResult | None:
    """Measure `plans` and the `best` ones of the job (None: none where plans are given, else 8), in `repeats` rounds of
    `steps` steps; predicted beside measured into the new directory `run`. `record`: a file of turns to go on with.
    `left_open`: of plans from files, which keys those leave open, with what was taken.

    Where torchrun has started the program, its processes are the ranks: each calls this, and the first one alone gets a
    result. Raises IllegalJob for a plan that is not legal for the job, UnusableInput for data or a directory that can't
    be used; a plan that fails while it runs is told in the result.
    """
    from plait.devices.drift import times_as_long
    from plait.launchers import together
    from plait.training.bench import bench as bench_here
    from plait.training.bench import bench_on
    from plait.training.bench_run import begun, ended

    most = 0 if plans and best is None else _MOST if best is None else best
    with together() as world:
        require_legal(job)
        require_this_machine(job)
        require_hosts(job.cluster.nodes)

        @cache
        def known() -> Measurements:
            return measurements or measured(hosts=hosts_of(job))

        def contest() -> Contest:
            if world is not None:
                for ranks in {one.ranks for one in plans}:
                    world.require(ranks)
            entries = _entries(job, plans, most, known(), left_open)
            return begun(job, entries, Path(run), record, repeats=repeats, steps=steps)

        found = bench_here(contest(), on_turn) if world is None else bench_on(world, contest, on_turn)
        if found is not None:
            found = replace(found, times_as_long=times_as_long(known()))
            ended(Path(run), found)
            report(run)
        return found


def _entries(
    job: Job, plans: Sequence[Plan], most: int, known: Measurements, left_open: Mapping[Plan, Mapping[str, Any]]
) -> tuple[Entry, ...]:
    from plait.devices.host import this_processor
    from plait.planner.coverage import outside_what_was_measured
    from plait.planner.prices import JobPrices
    from plait.planner.simulator import predict
    from plait.plans.legality import plan_problems
    from plait.training.bench import Entry

    if wrong := [problem for one in plans for problem in plan_problems(job, one)]:
        raise IllegalJob(wrong)
    found = [one.plan for one in plan(job, known).plans[:most]] if most else []
    prices, here = JobPrices(job.model, job.training, known, job.cluster), this_processor()
    return tuple(
        Entry(
            plan=one,
            prediction=predict(one, prices),
            guesses=outside_what_was_measured(one, prices, here),
            link=prices.machine.between_hosts,
            left_open=left_open.get(one, {}),
        )
        for one in dict.fromkeys([*plans, *found])
    )

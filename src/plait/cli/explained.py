"""`plait plan JOB --explain N`: why a plan lost, what became of the obvious ones, and what would change the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.cli.output import Line
from plait.errors import UnusableInput
from plait.units import Seconds

if TYPE_CHECKING:
    from plait.planner.obvious import Explained, Obvious
    from plait.planner.search import Plans, RankedPlan
    from plait.planner.what_if import WhatIf
    from plait.specs.job import Job
    from plait.specs.measurements import Measurements

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One plan beside the best, the obvious ones, and what another machine would change."""

    place: int
    one: Explained
    obvious: tuple[Obvious, ...]
    what_if: tuple[WhatIf, ...]

    @property
    def document(self) -> Mapping[str, Any]:
        """For JSON."""
        from plait.plans.files import plan_table

        def plain(one: Obvious | WhatIf) -> dict[str, Any]:
            return {**asdict(one), "plan": None if one.plan is None else plan_table(one.plan)}

        reasons = [{"words": reason.words, "without_seconds": reason.without} for reason in self.one.reasons]
        return {
            "place": self.place,
            "plan": plan_table(self.one.plan),
            "step_seconds": self.one.step_seconds,
            "beside_seconds": self.one.beside_seconds,
            "lost_because": self.one.lost_because,
            "reasons": reasons,
            "obvious": [plain(one) for one in self.obvious],
            "what_if": [plain(one) for one in self.what_if],
        }

    def lines(self) -> Iterator[Line]:
        """For people."""
        from plait.plans.describe import plan_name

        one, rival = self.one, "the second" if self.place == 1 else "the best"
        yield []
        yield [("bold", f"Plan {self.place}: {plan_name(one.plan)}")]
        beside = f"{Seconds(one.step_seconds)} a step, {rival} {Seconds(one.beside_seconds)}"
        yield [("", f"{beside}: {one.lost_because or 'it wins'}")]
        for reason in one.reasons:
            yield [("dim", f"  {Seconds(reason.without)} without this: {reason.words}")]
        yield []
        yield [("bold", "Plans that one might have expected")]
        yield from ([("", f"  {obvious.name}: {_step(obvious)}{obvious.why}")] for obvious in self.obvious)
        yield []
        yield [("bold", "What would change the answer")]
        yield from ([("", f"  {_words(change)}")] for change in self.what_if)


def _step(one: Obvious) -> str:
    return "" if one.step_seconds is None else f"{Seconds(one.step_seconds)}, "


def _words(one: WhatIf) -> str:
    from plait.plans.describe import plan_name

    if one.plan is None or one.step_seconds is None:
        return f"{one.change}: nothing would fit"
    then = f"another plan, {plan_name(one.plan)}" if one.changes else "the same plan"
    return f"{one.change}: {then}, {Seconds(one.step_seconds)} a step"


def explain(asked: str, job: Job, measurements: Measurements, plans: Plans) -> Explanation:
    """`asked`: a place in the ranking from 1, or a plan's file. Raises UnusableInput for neither, IllegalJob for a plan
    that is not legal for the job."""
    from plait.planner.obvious import explained, obvious_losers
    from plait.planner.what_if import what_if

    place = _place(asked, job, plans)
    ranked: RankedPlan = plans.plans[place - 1]
    return Explanation(
        place=place,
        one=explained(plans, ranked),
        obvious=obvious_losers(job, plans),
        what_if=what_if(job, measurements, plans),
    )


def _place(asked: str, job: Job, plans: Plans) -> int:
    from plait.plans.files import read_plan

    if asked.isdigit():
        if 1 <= int(asked) <= len(plans.plans):
            return int(asked)
        raise UnusableInput(f"--explain {asked}: there are plans 1 to {len(plans.plans)}")
    if not Path(asked).exists():
        raise UnusableInput(f"--explain {asked} is neither a plan's place in the ranking nor a file; legal: 1 to "
                            f"{len(plans.plans)}, or a plan.toml")  # fmt: skip
    plan = read_plan(asked, job).plan
    found = next((place for place, one in enumerate(plans.plans, 1) if one.plan == plan), None)
    if found is None:
        raise UnusableInput(
            f"the plan in {asked} is none of the {len(plans.plans)} that this job leaves open and that fit"
        )
    return found

"""`plait plan JOB --explain PLAN`: why a plan lost, what became of the obvious ones, and what would change the answer.
It is told alike of a machine that was measured and of those of the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from os.path import exists  # unlike Path's, of a name that is too long as well
from typing import TYPE_CHECKING, Any

from plait.cli.legal import left_open_lines
from plait.cli.output import Line
from plait.errors import UnusableInput
from plait.specs.wording import cut
from plait.units import Seconds

if TYPE_CHECKING:
    from plait.clusters.answer import ClusterPlans
    from plait.planner.reasons import Explained, Obvious
    from plait.planner.search import Plans
    from plait.planner.what_if import WhatIf
    from plait.plans.files import PlanFile
    from plait.specs.job import Job
    from plait.specs.measurements import Measurements

__all__ = ["Explanation", "explain", "explain_on_cluster", "what_if_document", "what_if_lines"]

_EQUAL = 0.005  # of a step: closer than this is no change


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One plan beside the best, the obvious ones, and what another machine would change of the best step, which
    takes `now` seconds. `place`: in the ranking, from 1; None: it is a plan's file that does not stand there. `asked`:
    that place, or the file. `left_open`: what the file leaves open of the plan, with what was taken."""

    place: int | None
    asked: str
    left_open: Mapping[str, Any]
    one: Explained
    obvious: tuple[Obvious, ...]
    now: float
    what_if: tuple[WhatIf, ...]

    @property
    def document(self) -> Mapping[str, Any]:
        """For JSON."""
        from plait.plans.files import plan_table

        reasons = [
            {"words": one.words, "without_seconds": one.without, "seconds": one.own, "beside_seconds": one.rivals}
            for one in self.one.reasons
        ]
        return {
            "place": self.place,
            "plan": plan_table(self.one.plan),
            "left_open": dict(self.left_open),
            "step_seconds": self.one.step_seconds,
            "beside_seconds": self.one.beside_seconds,
            "lost_because": self.one.lost_because,
            "fits": self.one.fits,
            "out_of_memory": self.one.risk,
            "reasons": reasons,
            "obvious": [_document(one) for one in self.obvious],
            "what_if": what_if_document(self.what_if),
        }

    def lines(self) -> Iterator[Line]:
        """For people."""
        from plait.plans.describe import plan_name

        one, rival = self.one, "the second" if self.place == 1 else "the best"
        yield []
        name = f"The plan in {self.asked}" if self.place is None else f"Plan {self.place}"
        yield [("bold", f"{name}: {plan_name(one.plan)}")]
        yield from left_open_lines(self.asked, self.left_open)
        beside = f"{Seconds(one.step_seconds)} a step, {rival} {Seconds(one.beside_seconds)}"
        yield [("", f"{beside}: {one.lost_because or 'it wins'}")]
        yield from ([("", f"It {words}.")] for words in _room(one, asked=self.place is None))
        for reason in one.reasons:
            pays = f"{Seconds(reason.own)}, {rival} {Seconds(reason.rivals)}"
            yield [("dim", f"  {Seconds(reason.without)} without what it pays more ({pays}): {reason.words}")]
        if self.obvious:
            yield []
            yield [("bold", "Plans that one might have expected")]
        yield from ([("", f"  {obvious.name}: {_step(obvious)}{obvious.why}")] for obvious in self.obvious)
        yield from what_if_lines(self.now, self.what_if)


def _room(one: Explained, *, asked: bool) -> Iterator[str]:
    """What is to be known of its memory; of a plan that is ranked only where that is no matter of course."""
    from plait.estimates.estimate import DARING, RISK
    from plait.planner.remedies import may_run_out

    if RISK < one.risk <= DARING:
        yield may_run_out(one.risk)
    elif asked:
        yield "fits the memory" if one.fits else "does not fit the memory"


def what_if_document(found: Sequence[WhatIf]) -> list[dict[str, Any]]:
    """What machines that differ in one thing would change, for JSON."""
    return [_document(one) for one in found]


def what_if_lines(now: float, found: Sequence[WhatIf]) -> Iterator[Line]:
    """The same for people. `now`: seconds of the best step as things are."""
    yield []
    yield [("bold", "What would change the answer")]
    yield from ([("", f"  {_words(one, now)}")] for one in found)


def _document(one: Obvious | WhatIf) -> dict[str, Any]:
    from plait.plans.files import plan_table

    return {**asdict(one), "plan": None if one.plan is None else plan_table(one.plan)}


def _step(one: Obvious) -> str:
    return "" if one.step_seconds is None else f"{Seconds(one.step_seconds)}, "


def _words(one: WhatIf, now: float) -> str:
    from plait.plans.describe import plan_name

    if one.plan is None or one.step_seconds is None:
        return f"{one.change}: nothing would fit"
    more = one.step_seconds / now - 1
    if abs(more) < _EQUAL:
        return f"{one.change}: no change of the step"
    by = f", by another plan: {plan_name(one.plan)}" if one.changes else ""
    return f"{one.change}: {Seconds(one.step_seconds)} a step ({more:+.0%}){by}"


def explain(asked: str, job: Job, measurements: Measurements, plans: Plans) -> Explanation:
    """`asked`: a place in the ranking from 1, or a plan's file; one that is not ranked is priced. Raises UnusableInput
    for neither, IllegalJob for a plan that is not legal for the job."""
    from plait.planner.changes import changes
    from plait.planner.obvious import explained, explained_outside, obvious_losers

    place, file = _asked_for(asked, job, plans)
    return Explanation(
        place=place,
        asked=asked,
        left_open=file.left_open,
        one=explained_outside(file.plan, job, plans) if place is None else explained(plans, plans.plans[place - 1]),
        obvious=obvious_losers(job, plans),
        now=plans.best.found.step.seconds,
        what_if=changes(job, measurements, plans),
    )


def explain_on_cluster(asked: str, plans: ClusterPlans) -> Explanation:
    """The same on machines of the catalogue, where most legal plans are not ranked: one in a file is priced. Raises
    UnusableInput for neither place nor file and for what can't be priced, IllegalJob for a plan that is not legal."""
    from plait.clusters.answer import price_plan
    from plait.clusters.explain import explained, why_not_ranked

    place, file = _asked_for(asked, plans.job, plans)
    ranked, tasks = [one.found for one in plans.plans], plans.tasks
    if place is None:
        one = price_plan(plans.job, file.plan)
        lost = why_not_ranked(one, ranked[0], tasks, plans.limit)
    else:
        one, lost = ranked[place - 1], plans.plans[place - 1].lost_because
    rival = ranked[1] if place == 1 and len(ranked) > 1 else ranked[0]
    return Explanation(
        place=place,
        asked=asked,
        left_open=file.left_open,
        one=explained(one, rival, lost, plans.limit),
        obvious=plans.obvious,
        now=plans.best.found.seconds,
        what_if=plans.changes,
    )


def _asked_for(asked: str, job: Job, plans: Plans | ClusterPlans) -> tuple[int | None, PlanFile]:
    """Its place in the ranking, None for a plan's file that is not in it; and the plan."""
    from plait.plans.files import PlanFile, read_plan

    if asked in (places := {str(place): place for place in range(1, len(plans.plans) + 1)}):
        return places[asked], PlanFile(plan=plans.plans[places[asked] - 1].plan)
    if asked.isascii() and asked.isdecimal():
        raise UnusableInput(f"--explain {cut(asked)}: there are plans 1 to {len(plans.plans)}")
    if not exists(asked):
        raise UnusableInput(f"--explain {cut(asked)} is neither a plan's place in the ranking nor a file; legal: 1 to "
                            f"{len(plans.plans)}, or a plan.toml")  # fmt: skip
    file = read_plan(asked, job)
    return next((place for place, one in enumerate(plans.plans, 1) if one.plan == file.plan), None), file

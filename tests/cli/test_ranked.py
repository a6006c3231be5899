"""The table of ranked plans: what differs has a line each, and what is as fast as another a part of one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from plait.cli.ranked import SHOWN, ranked_lines
from plait.plans.differences import plan_difference
from plait.plans.plan import Plan
from plait.plans.prediction import Prediction, Terms

BEST = Plan(data=8, tensor=2, pipeline=1, stages=(8,), data_shares=(1,) * 8, tensor_shares=(1, 1))
KEPT = replace(BEST, data=4, context=2, data_shares=(1,) * 4)


@dataclass(frozen=True)
class Ranked:
    """As much of a ranked plan as a table asks for."""

    plan: Plan
    step_seconds: float
    lost_because: str | None = "it is slower"
    asked: list[float] = field(default_factory=list[float])

    @property
    def prediction(self) -> Prediction:
        self.asked.append(self.step_seconds)
        terms = Terms(compute=self.step_seconds, bubble=0.0, optimizer=0.0, exposed={})
        return SimpleNamespace(  # pyright: ignore[reportReturnType]
            step_seconds=self.step_seconds,
            interval=(self.step_seconds, self.step_seconds),
            terms=terms,
            memory_bytes=(2**30,),
        )


def lines(plans: list[Ranked], top: int | None = None) -> list[str]:
    return ["".join(text for _, text in line) for line in ranked_lines(plans, top)]


def test_plans_that_are_as_fast_are_told_in_one_line():
    far = replace(BEST, microbatch=2)
    told = lines([Ranked(BEST, 1.0), Ranked(KEPT, 1.0009), Ranked(far, 1.0011), Ranked(far, 1.5)])
    assert [line.split(",")[0] for line in told[1:]] == [
        "data 8 × tensor 2", "  and 1 more within 0.1% (place 2): data 4", "data 8 × tensor 2", "data 8 × tensor 2",
    ]  # fmt: skip
    assert told[2].endswith("data 4, context 2")


def test_of_many_the_first_three_are_told_and_all_counted():
    alike = [Ranked(replace(BEST, microbatch=size), 1.0) for size in range(2, 7)]
    _, _, told = lines([Ranked(BEST, 1.0), *alike])
    assert told == "  and 5 more within 0.1% (places 2 to 6): microbatch 2; microbatch 3; microbatch 4; …"


def test_runners_up_are_not_hidden_by_what_is_as_fast():
    """Each of so many plans has a twin."""
    plans = [Ranked(plan, 1.1**place) for place in range(SHOWN + 2) for plan in (BEST, KEPT)]
    told = lines(plans)
    shown = [line for line in told if re.search("it is slower", line)]
    assert len(shown) == SHOWN
    assert told[-1] == f"… and 4 more (--top {len(plans)})"


def test_all_that_is_predicted_is_asked_of_shown_plans_alone():
    """Of thousands it would take longer than the search."""
    asked: list[float] = []
    lines([Ranked(BEST, 1.1**place, asked=asked) for place in range(3 * SHOWN)])
    assert len(set(asked)) == SHOWN


@pytest.mark.parametrize("top", [1, 3, 24, 99])
def test_who_asks_for_so_many_plans_gets_a_line_for_each(top):
    plans = [Ranked(plan, 1.1**place) for place in range(12) for plan in (BEST, KEPT)]
    told = lines(plans, top)
    assert not any("within" in line for line in told)
    assert sum("it is slower" in line for line in told) == min(top, 24)
    assert (told[-1] == f"… and {24 - top} more (--top 24)") == (top < 24)


def test_a_plan_that_differs_in_lists_alone_is_told_by_them():
    two = replace(BEST, pipeline=2, stages=(4, 4))
    assert plan_difference(replace(two, stages=(5, 3)), two) == "stages 5+3"
    assert plan_difference(replace(BEST, data_shares=(2, *(1,) * 7)), BEST).startswith("data shares 2 : 1")
    assert plan_difference(BEST, replace(BEST, data_shares=(2, *(1,) * 7))) == "equal data shares"


def test_what_a_plan_has_no_use_for_is_no_difference():
    deep = replace(BEST, data=4, pipeline=2, schedule="interleaved", virtual_stages=2, stages=(2,) * 4, zero=3,
                   sequence_parallel=True, data_shares=(1,) * 4)  # fmt: skip
    told = "interleaved, 2 stages a rank, sequence parallel, ZeRO 3"
    assert plan_difference(deep, BEST) == f"data 4, pipeline 2, {told}"
    assert plan_difference(BEST, deep) == "data 8, pipeline 1, no sequence parallel, ZeRO 0"
    assert plan_difference(replace(BEST, data=16, tensor=1), replace(deep, pipeline=1)) == "data 16, tensor 1, ZeRO 0"

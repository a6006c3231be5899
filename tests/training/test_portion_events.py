"""What ranks tell of portions becomes what is told of steps, in whatever order it comes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from plait.training.portion_events import StepsOfPortions


def portion(
    step: int, *, loss: float = 1.0, norm: float | None = 2.0, seconds: float = 3.0, of: int = 2
) -> dict[str, Any]:
    return {
        "event": "portion", "step": step, "loss": loss, "norm": norm, "seconds": seconds, "portions": of, "tokens": 64,
        "validation_follows": step == 2,
    }  # fmt: skip


def validation(step: int) -> dict[str, Any]:
    return {"event": "validation", "step": step, "loss": 5.0, "bytes_per_token": 1.0}


def told(*events: dict[str, Any]) -> list[dict[str, Any]]:
    steps = StepsOfPortions()
    return [dict(found) for event in events for found in steps.take(event)]


def test_a_step_is_told_once_with_all_of_its_portions():
    found = told(portion(1, loss=1.5, norm=2.0, seconds=1.0), portion(1, loss=0.25, norm=4.0, seconds=2.0))
    assert found == [
        {
            "event": "step",
            "step": 1,
            "loss": 1.75,
            "norm": 3.0,
            "seconds": 1.5,
            "tokens": 64,
            "validation_follows": False,
        }
    ]


def test_without_clipping_there_is_no_norm():
    assert told(portion(1, norm=None), portion(1, norm=None))[0]["norm"] is None


def test_what_is_told_of_steps_passes():
    step = {"event": "step", "step": 1, "loss": 1.0}
    assert told(validation(0), step, validation(1)) == [validation(0), step, validation(1)]


@given(order=st.permutations([0, 1, 2, 3, 4, 5, 6]))
def test_any_order_of_ranks_gives_the_steps_in_theirs_each_validation_behind_its_step(order):
    events = [*(portion(step) for step in (1, 2, 3) for _ in range(2)), validation(2)]
    found = [(one["event"], one["step"]) for one in told(validation(0), *(events[number] for number in order))]
    assert found == [("validation", 0), ("step", 1), ("step", 2), ("validation", 2), ("step", 3)]

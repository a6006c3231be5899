"""Transfers placed by a clock: both ends alike, no rank that waits for what stands behind it, and none too late."""

from __future__ import annotations

import random

import pytest

from plait.schedules.action import Action, Kind
from plait.schedules.clocked import clocked_schedule
from plait.schedules.schedule import schedule_from_orders
from plait.schedules.timeline import simulate
from plait.schedules.validate import validate
from tests.schedules.drawing import free, listed


def orders(*lines: str) -> list[list[Action]]:
    return [[Action.parse(word) for word in line.split()] for line in lines]


def test_a_value_is_received_where_its_rank_stands_when_it_is_made():
    """1F1 is performed after 1B0, and its input is taken before: rank 0 has it then, and nothing else to do."""
    schedule = clocked_schedule("test", 2, orders("0F0 0F1 0B0 0B1", "1F0 1B0 1F1 1B1"), (0, 1))
    assert schedule.programs == listed(
        "0F0 0SEND_F0 0F1 0SEND_F1+0RECV_B0 0B0 0RECV_B1 0B1",
        "1RECV_F0 1F0 1RECV_F1 1B0 1SEND_B0 1F1 1B1 1SEND_B1",
    )


def test_it_takes_orders_that_the_simple_rule_deadlocks_or_swaps():
    """Rank 1 works on a later microbatch first: what is sent in one order is needed in another."""
    swapped = orders("0F0 0F1 0B1 0B0", "1F1 1B1 1F0 1B0")
    with pytest.raises(Exception, match="messages between two ranks keep their order"):
        validate(schedule_from_orders("test", 2, swapped))
    validate(clocked_schedule("test", 2, swapped, (0, 1)))


@pytest.mark.parametrize("seed", range(40))
def test_any_order_that_can_be_played_is_legal(seed):
    """Drawn at random: ranks with several stages, F and then B or I and W, whatever is ready taken next."""
    rng = random.Random(seed)
    ranks, microbatches = rng.randint(1, 4), rng.randint(1, 5)
    stage_rank = list(range(ranks)) + [rng.randrange(ranks) for _ in range(rng.randint(0, 4))]
    rng.shuffle(stage_rank)
    schedule = clocked_schedule("drawn", microbatches, played(rng, stage_rank, microbatches), stage_rank)
    validate(schedule)
    assert simulate(schedule, lambda _: 1.0, free).step_seconds > 0


def played(rng: random.Random, stage_rank: list[int], microbatches: int) -> list[list[Action]]:
    last, found = len(stage_rank) - 1, [[] for _ in range(max(stage_rank) + 1)]
    apart = {stage: rng.random() < 0.5 for stage in range(last + 1)}
    waiting = {(stage, "F", k) for stage in range(last + 1) for k in range(microbatches)}
    ended: set[tuple[int, str, int]] = set()
    while waiting:
        ready = sorted(
            (stage, kind, k)
            for stage, kind, k in waiting
            if not (kind == "F" and stage and (stage - 1, "F", k) not in ended)
            and not (kind in "BI" and stage < last and (stage + 1, "back", k) not in ended)
        )
        stage, kind, k = rng.choice(ready)
        waiting.remove((stage, kind, k))
        found[stage_rank[stage]].append(Action(stage, Kind(kind), k))
        ended.add((stage, "back" if kind in "BI" else kind, k))
        if kind != "B" and kind != "W":
            waiting.add((stage, "W" if kind == "I" else "I" if apart[stage] else "B", k))
    return found

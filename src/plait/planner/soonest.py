"""How soon each stage of a pipeline can be done at best: a bound on any schedule, found without playing one.

    stage 0   F ···········  B          what stage 1 works through, and before it one forward of each stage above and
    stage 1     F F B F B B  ↑          the way down; after it, where every backward goes all the way up, one backward
              ↑ one forward  one        of each and the way up
                             backward

Cores that ranks share are a bound of their own: all that the stages compute, on cores that are always full. It knows
the parts of a step in seconds, no list of actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from operator import add

from plait.planner.step_cost import StepCost

__all__ = ["MIRRORED", "soonest"]

# schedules of one stage a rank, whose last action is a backward that those above await
MIRRORED = frozenset({"gpipe", "1f1b"})


def soonest(
    cost: StepCost, busy: Sequence[float], crowd: float, all_full: float, *, mirrored: bool
) -> tuple[float, ...]:
    """For each rank of the pipeline the earliest end of its last action, in seconds. `busy`: what it computes in all;
    `crowd`: how many times longer while no other is at work; `all_full`: all work on cores that are always full."""
    hop = min(cost.send, cost.exchange)
    placed = list(zip(cost.stages, cost.places, strict=True))
    down = [min(one.seconds(stage.forward, place) for one in cost.kinds) * crowd for stage, place in placed]
    hops = [hop * (here != there) for here, there in pairwise((*cost.places, cost.places[-1]))]
    before = [0.0, *accumulate(map(add, down, hops))]  # until the first forward of each stage
    own = [before[cost.places.index(place)] + work for place, work in enumerate(busy)]
    if not mirrored:
        return tuple(own)
    up = [min(one.seconds(stage.backward, place) for one in cost.kinds) * crowd + hop for stage, place in placed]
    ends = list(own)
    for place in range(len(ends) - 2, -1, -1):  # a stage is done no sooner than the one below, and a backward more
        ends[place] = max(ends[place], ends[place + 1] + up[place])
    ends[0] = max(ends[0], all_full)
    return tuple(ends)

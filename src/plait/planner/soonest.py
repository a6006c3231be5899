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
from itertools import accumulate

from plait.planner.step_cost import StepCost

__all__ = ["MIRRORED", "soonest"]

MIRRORED = frozenset({"gpipe", "1f1b"})  # schedules in which a stage's last action is a backward that those above await


def soonest(
    cost: StepCost, busy: Sequence[float], crowd: float, all_full: float, *, mirrored: bool
) -> tuple[float, ...]:
    """For each stage the earliest end of its last action, in seconds. `busy`: what it computes in all; `crowd`: how
    much longer it takes while one stage alone is at work; `all_full`: all work on cores that are always full."""
    hop = min(cost.send, cost.exchange)
    stages = list(enumerate(cost.stages))
    down = [min(one.seconds(stage.forward, place) for one in cost.kinds) * crowd + hop for place, stage in stages]
    up = [min(one.seconds(stage.backward, place) for one in cost.kinds) * crowd + hop for place, stage in stages]
    before = [0.0, *accumulate(down)]  # until the first forward
    own = [start + work for start, work in zip(before, busy, strict=False)]
    if not mirrored:
        return tuple(own)
    ends = list(own)
    for place in range(len(ends) - 2, -1, -1):  # a stage is done no sooner than the one below, and a backward more
        ends[place] = max(ends[place], ends[place + 1] + up[place])
    ends[0] = max(ends[0], all_full)
    return tuple(ends)

"""Which blocks stand on which stage, so that the slowest stage is as fast as it can be.

    embedding  b0  b1  b2  b3  b4  b5  b6  head          costs 0.1  1 1 1 1 1 1 1  2.5
    └──────── stage 0 ────────┘└─── stage 1 ───┘         5 | 2: the head weighs as much as 2.5 blocks
    └ stage 0, half as fast ┘└──── stage 1 ────┘         3 | 4: a stage on a slower rank has fewer

Linear partition by dynamic programming over prefix sums, exact for blocks of any costs, O(stages · blocks²): once for
the least possible largest stage, once for the most even cut that keeps it. It knows numbers, not what they count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from itertools import accumulate
from math import inf
from operator import add

from plait.errors import PlaitError

__all__ = ["balanced_stages", "dealt_blocks"]

_Price = Callable[[int, int, int], float]  # of the blocks [start, stop) on a stage: (stage, start, stop)


def balanced_stages(
    blocks: Sequence[float],
    stages: int,
    *,
    embedding: float = 0.0,
    head: float = 0.0,
    slower: Sequence[float] = (),
) -> tuple[int, ...]:
    """How many blocks each stage gets: the largest stage costs the least possible, then the squares sum to the least.

    The first stage bears `embedding` too, the last `head`; each takes `slower` times as long as the blocks' costs say,
    where that is given. Raises PlaitError where a stage would have no block.
    """
    if not 1 <= stages <= len(blocks):
        raise PlaitError(f"{len(blocks)} layers can't stand on {stages} stages: every stage holds at least one")
    before = [0.0, *accumulate(blocks)]
    factors = slower or (1.0,) * stages

    def cost(stage: int, start: int, stop: int) -> float:
        ends = embedding * (stage == 0) + head * (stage == stages - 1)
        return factors[stage] * (before[stop] - before[start] + ends)

    def square(stage: int, start: int, stop: int) -> float:
        alone = cost(stage, start, stop)
        return alone * alone if alone <= limit else inf

    limit, _ = _partition(len(blocks), stages, cost, max)
    _, sizes = _partition(len(blocks), stages, square, add)
    return sizes


def dealt_blocks(
    count: int, paces: Sequence[float], *, beside: Sequence[float], most: Sequence[int] | None = None
) -> tuple[int, ...]:
    """The same for `count` blocks that are all alike, on stages of unlike speed: `paces` are the seconds of one block
    on each stage, `beside` those of what else stands there, `most` the blocks that it has room for.

    One block after the other goes where it does the least harm, which is best for costs that only grow; O(n log n).
    Raises PlaitError where a stage would have no block, or there is no room for all.
    """
    room = [count] * len(paces) if most is None else list(most)
    if not 1 <= len(paces) <= count or min(room) < 1 or sum(room) < count:
        raise PlaitError(f"{count} layers can't stand on {len(paces)} stages that have room for {sum(room)}, 1 on each")
    sizes = [1] * len(paces)
    waiting = [(beside[place] + 2 * paces[place], place) for place in range(len(paces)) if room[place] > 1]
    heapify(waiting)
    for _ in range(count - len(paces)):
        cost, place = heappop(waiting)
        sizes[place] += 1
        if sizes[place] < room[place]:
            heappush(waiting, (cost + paces[place], place))
    return tuple(sizes)


def _partition(
    count: int, stages: int, price: _Price, join: Callable[[float, float], float]
) -> tuple[float, tuple[int, ...]]:
    """The cut of `count` blocks whose stages' prices join to the least, and that least; first stages larger on ties."""
    # best[stop]: the least for the blocks before `stop` on the stages so far, and minus where the last of them starts;
    # each stage that follows has a block, and behind the last one none is left
    spare = count - stages
    best = {stop: (price(0, 0, stop), 0) for stop in range(1, spare + 2)}
    tables = [best]
    for stage in range(1, stages):
        last = stage + 1 + spare
        best = {
            stop: min((join(best[start][0], price(stage, start, stop)), -start) for start in range(stage, stop))
            for stop in range(stage + 1 if stage < stages - 1 else last, last + 1)
        }
        tables.append(best)
    sizes: list[int] = []
    stop = count
    for table in reversed(tables):
        start = -table[stop][1]
        sizes.append(stop - start)
        stop = start
    return best[count][0], tuple(reversed(sizes))

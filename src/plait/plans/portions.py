"""Portions of steps: which is given out next, which has been applied, and which may be begun. Pure, of one server.

    portion   0   1   2 │ 3   4   5 │ 6   7   8         three workers: three portions a step, whoever computes them
    applied   ●   ●   ● │ ●   ·   ● │ ·   ·   ·         four are complete: all before the first that is missing
    staleness 1: step 2 may not begin before 0, 1 and 2 are applied: it may; step 3 waits for portion 4

Portions are given out in their order to whoever asks, so that a slow worker computes fewer of them and no sample is
left out or seen twice. The lowest portion that is missing has always been allowed to begin: nobody waits in a circle.
"""

from __future__ import annotations

from plait.errors import PlaitError

__all__ = ["Portions"]


class Portions:
    """Of steps with `a_step` portions each; `staleness` as a plan has it: -1 has no bound."""

    def __init__(self, a_step: int, staleness: int) -> None:
        self.a_step, self.staleness = a_step, staleness
        self.complete = 0  # so many have been applied without a gap
        self._given = self.complete
        self._beyond: set[int] = set()  # applied after a gap

    def give(self, limit: int) -> int | None:
        """The next portion; None where all below `limit` are given."""
        if self._given >= limit:
            return None
        self._given += 1
        return self._given - 1

    def apply(self, portion: int) -> None:
        """It has come. Raises PlaitError where it had before."""
        if portion < self.complete or portion in self._beyond:
            raise PlaitError(f"portion {portion} has come twice: its gradient is applied already")
        self._beyond.add(portion)
        while self.complete in self._beyond:
            self._beyond.remove(self.complete)
            self.complete += 1

    def may_begin(self, portion: int) -> bool:
        """Whether all portions of the steps that are more than `staleness` before its own have been applied."""
        return self.staleness < 0 or self.complete >= (portion // self.a_step - self.staleness) * self.a_step

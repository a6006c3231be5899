"""What is said of every rank of a plan, worked out once for those that are alike.

    data 5, tensor 2        a b   a b   c b   c b   c b        2 × (a b), 3 × (c b)

Of a thousand ranks a few differ (`alike`): the most or all of something is told from these. It knows ranks, not what is
said of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Generic, TypeVar, overload

from plait.planner.alike import places_like, tensor_ranks_alike, workers_alike
from plait.planner.stage import keepers_of
from plait.plans.plan import Plan
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec

__all__ = ["ByRank", "by_rank"]

_Found = TypeVar("_Found")


@dataclass(frozen=True, kw_only=True)
class ByRank(Sequence[_Found], Generic[_Found]):
    """A sequence by rank. `different`: what is said, and of how many ranks. `rows`: of the tensor ranks of a replica
    which of these each is, and how often that follows itself."""

    different: tuple[tuple[_Found, int], ...]
    rows: tuple[tuple[int, tuple[int, ...]], ...]

    def __iter__(self) -> Iterator[_Found]:
        return (self.different[number][0] for times, row in self.rows for _ in range(times) for number in row)

    def __len__(self) -> int:
        return sum(ranks for _, ranks in self.different)

    @overload
    def __getitem__(self, index: int) -> _Found: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[_Found, ...]: ...
    def __getitem__(self, index: int | slice) -> _Found | tuple[_Found, ...]:
        return tuple(self)[index]

    def most(self, number: Callable[[_Found], int]) -> int:
        """The largest number that a rank has."""
        return max(number(one) for one, _ in self.different)

    def total(self, number: Callable[[_Found], int]) -> int:
        """The numbers of all ranks together."""
        return sum(ranks * number(one) for one, ranks in self.different)


def by_rank(
    find: Callable[[int, int, int], _Found], plan: Plan, model: ModelSpec, training: TrainingSpec
) -> ByRank[_Found]:
    """What `find` says of every rank, at (place along the pipeline, data rank, tensor rank), asked of one of those that
    are alike."""
    tensors = tensor_ranks_alike(model, training, plan)
    workers, like = workers_alike(plan, training.global_batch), places_like(plan)
    along = {place: _along_data(workers, _keepers(model, plan, place, tensors)) for place in dict.fromkeys(like)}
    number: dict[tuple[int, int, int], int] = {}
    ranks: Counter[int] = Counter()
    rows: list[tuple[int, tuple[int, ...]]] = []
    for place in range(plan.pipeline):
        for times, data in along[like[place]]:
            row = tuple(number.setdefault((place, data, tensor), len(number)) for tensor in tensors)
            rows.append((times, row))
            for one in row:
                ranks[one] += times
    return ByRank(different=tuple((find(*key), ranks[one]) for key, one in number.items()), rows=tuple(rows))


def _keepers(model: ModelSpec, plan: Plan, place: int, tensors: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    return tuple(keepers_of(model, plan, place, tensor) for tensor in dict.fromkeys(tensors))


@lru_cache(maxsize=1024)
def _along_data(workers: tuple[int, ...], keepers: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, int], ...]:
    """Along the data axis, how many ranks in a row are alike, and the first that is like them."""
    first: dict[tuple[int, ...], int] = {}
    like = [first.setdefault(key, data) for data, key in enumerate(zip(workers, *keepers, strict=True))]
    return tuple((len([*some]), data) for data, some in groupby(like))

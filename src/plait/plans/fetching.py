"""Which weights a rank puts together when, under ZeRO 3: those of the layer in use and of the one that comes next.

    uses        0    1    2    3 │ 3    2    1         forward of a stage of 4 layers, and backward
    there       01   12   23   23│ 23   12   1         its layers that are whole meanwhile: two at most
    fetched     0,1  2    3                1

A *unit* is a set of weights that are used by the same layers, and travel together: a layer's own, or a table that the
first layer and the last have in common. The embedding's backward needs no weights. Places count through the layers of
all of a rank's stages, in forward order. A pure function of the layers and
the schedule, so that the planner counts the very messages that the runtime sends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate, pairwise
from typing import NamedTuple

from plait.layers.layer import Layer
from plait.plans.holdings import Held
from plait.schedules.action import Kind

__all__ = ["Fetches", "Turn", "Unit", "fetches", "turns", "units", "uses"]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The weights that are used by the layers at these places of a rank, and by no other."""

    weights: tuple[Held, ...]
    places: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Elements of its weights as one tensor rank holds them."""
        return sum(one.elements for one in self.weights)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What happens before the layer at `place` is used: units are `dropped`, others are `fetched`, and those that are
    `needed` now waited for, of which some are `arriving`: they were not whole before. What is fetched for a later use
    is asked for when that is done. `there`: all that is whole afterwards, or soon."""

    place: int
    dropped: tuple[int, ...]
    fetched: tuple[int, ...]
    needed: tuple[int, ...]
    arriving: tuple[int, ...]
    there: tuple[int, ...]

    @property
    def meanwhile(self) -> tuple[int, ...]:
        """What is whole, or has come, while those that are arriving are put together."""
        return tuple(number for number in self.there if number in self.needed or number not in self.fetched)


def units(layers: Sequence[Layer], held: Sequence[Held]) -> tuple[Unit, ...]:
    """The units of a rank's layers, by first use; `held` are its weights as a tensor rank holds them, in forward
    order."""
    used: dict[str, dict[int, None]] = {}  # by weight, the places of its layers
    for place, layer in enumerate(layers):
        for weight in layer.weights:
            used.setdefault(weight.name, {})[place] = None
    grouped: dict[tuple[int, ...], list[Held]] = {}
    for one in held:
        grouped.setdefault(tuple(used.get(one.weight.name, ())), []).append(one)
    return tuple(Unit(weights=tuple(grouped[places]), places=places) for places in grouped)


def uses(stages: Sequence[Sequence[Layer]], program: Iterable[tuple[int, Kind]]) -> Iterator[int]:
    """The places of the layers whose weights a rank's actions need, in order. `program`: the number of its stage among
    the rank's `stages`, and the kind. W needs none, nor does what is no computation."""
    ends = [0, *accumulate(map(len, stages))]
    for turn, kind in program:
        begin, end = ends[turn], ends[turn + 1]
        if kind is Kind.F:
            yield from range(begin, end)
        elif kind in (Kind.B, Kind.I):
            yield from reversed(range(begin + (stages[turn][0].kind == "embedding"), end))


def turns(known: Sequence[Unit], order: Sequence[int]) -> Iterator[Turn]:
    """What happens before each use of `order`."""
    yield from _walk(known, list(_with_next(order)), _NOTHING)


class _Now(NamedTuple):
    """The units that are `there` at some time, and of them those that are `whole`."""

    there: tuple[int, ...]
    whole: tuple[int, ...]

    def after(self, turn: Turn) -> _Now:
        return _Now(turn.there, tuple(n for n in turn.there if n in turn.needed or n in self.whole))


_NOTHING = _Now((), ())


def _walk(known: Sequence[Unit], order: Iterable[tuple[int, int | None]], now: _Now) -> Iterator[Turn]:
    """The same, from where it is so `now`; each use with the next one of another layer."""
    for place, following in order:
        needed = tuple(n for n, unit in enumerate(known) if place in unit.places)
        wanted = tuple(n for n, unit in enumerate(known) if n in needed or following in unit.places)
        turn = Turn(
            place=place,
            dropped=tuple(n for n in now.there if n not in wanted),
            fetched=tuple(n for n in wanted if n not in now.there),
            needed=needed,
            arriving=tuple(n for n in needed if n not in now.whole),
            there=wanted,
        )
        yield turn
        now = now.after(turn)


@dataclass(frozen=True, kw_only=True)
class Fetches:
    """`counts`: how often a program fetches each unit, by the action that waits for it. `there`: all sets of units that
    are whole at some time. `arriving`: those that are put together at a time, each with what stands `meanwhile`."""

    counts: Counter[tuple[int, Kind]]
    there: frozenset[tuple[int, ...]]
    arriving: frozenset[tuple[tuple[int, ...], tuple[int, ...]]]


def fetches(known: Sequence[Unit], stages: Sequence[Sequence[Layer]], program: Sequence[tuple[int, Kind]]) -> Fetches:
    """What `turns` brings during a program (as `uses` takes it), counted: long ones repeat the same few actions."""
    paths = {action: tuple(uses(stages, [action])) for action in set(program)}
    working = [action for action in program if paths[action]]
    following: list[int | None] = [None]  # of each action, the next use of another layer than its own last one
    pairs = {pair: _first_other(*map(paths.__getitem__, pair)) for pair in set(pairwise(working))}
    for later, earlier in pairwise(reversed(working)):
        other = pairs[earlier, later]
        following.append(following[-1] if other is None else other)
    alike: dict[tuple[tuple[int, Kind], int | None, _Now], tuple[list[Turn], _Now]] = {}
    times: Counter[tuple[tuple[int, Kind], int | None, _Now]] = Counter()
    now = _NOTHING
    for action, after in zip(working, reversed(following), strict=False):
        key = (action, after, now)
        if key not in alike:
            found = list(_walk(known, list(_with_next(paths[action], after)), now))
            alike[key] = found, reduce(_Now.after, found, now)
        times[key] += 1
        now = alike[key][1]
    counts: Counter[tuple[int, Kind]] = Counter()
    for key, (walked, _) in alike.items():
        for number in (number for turn in walked for number in turn.fetched):
            counts[number, key[0][1]] += times[key]
    every = [turn for walked, _ in alike.values() for turn in walked]
    return Fetches(
        counts=counts,
        there=frozenset(turn.there for turn in every),
        arriving=frozenset((turn.arriving, turn.meanwhile) for turn in every if turn.arriving),
    )


def _first_other(path: Sequence[int], later: Sequence[int]) -> int | None:
    """The first place of a later path that is not the last of an earlier one."""
    return next((place for place in later if place != path[-1]), None)


def _with_next(order: Sequence[int], after: int | None = None) -> Iterator[tuple[int, int | None]]:
    """Each use with the next one that is of another layer; of the last one `after`."""
    following: list[int | None] = [after]
    for later, earlier in pairwise(reversed(order)):
        following.append(following[-1] if later == earlier else later)
    yield from zip(order, reversed(following), strict=True)

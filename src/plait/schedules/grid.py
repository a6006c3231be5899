"""A schedule that a person has drawn: a row a rank, a cell a computation, in the order in which the rank performs them.

    # 1F1B on 2 ranks, 3 microbatches                       what follows # is the reader's
    rank 0   F0 F1 .. B0 F2 B1 .. B2                        row r is rank r; its name may stand before it
    rank 1   .. F0 B0 F1 B1 F2 B2 ..                        dots show where a rank waits, and say nothing else

    rank 0   0F0 0F1 3F0 3F1 3I0 …                          with several stages a rank, each cell names its stage

F is forward, B backward, I and W its two parts: of the inputs, and of the weights. Only the order of a row counts: when
a cell happens follows from what it needs, and transfers are put in their places (`clocked`). It knows text; no file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from plait.errors import IllegalSchedule
from plait.schedules.action import Action, Kind
from plait.schedules.clocked import clocked_schedule
from plait.schedules.schedule import Schedule
from plait.schedules.validate import validate

__all__ = ["Grid", "read_grid"]

_LABEL = re.compile(r"\s*rank\s+(\d+)\s*:?(?=\s|$)")
_CELL = re.compile(r"(0|[1-9]\d{0,5})?([FBIW])(0|[1-9]\d{0,5})")
_WORD = re.compile(r"\S+")
_IDLE = re.compile(r"\.+")


class _Cell(NamedTuple):
    """A computation and where it is written, from 1."""

    action: Action
    line: int
    column: int

    @property
    def place(self) -> str:
        return f"line {self.line}, column {self.column}"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A legal grid: its schedule for all of its microbatches."""

    schedule: Schedule

    @property
    def stage_rank(self) -> tuple[int, ...]:
        """The rank of each stage."""
        return self.schedule.stage_rank

    @property
    def ranks(self) -> int:
        """Its rows."""
        return self.schedule.ranks

    @property
    def microbatches(self) -> int:
        """As many as its cells name."""
        return self.schedule.microbatches


@lru_cache(maxsize=64)
def read_grid(text: str) -> Grid:
    """The grid that a text draws. Raises IllegalSchedule: with line and column for a cell that can't be, with the cycle
    of waits where its ranks would wait for each other for ever."""
    rows = [row for number, line in enumerate(text.split("\n"), 1) if (row := _row(line, number)) is not None]
    rows = [_named(row, rank) for rank, row in enumerate(rows)]
    cells = [cell for row in rows for cell in row]
    if not cells:
        raise IllegalSchedule("the grid has no cell: a row a rank, with cells such as F0 and B0")
    stage_rank = _placed(rows)
    microbatches = max(cell.action.microbatch for cell in cells) + 1
    _require_each_once(cells, stage_rank, microbatches)
    orders = [[cell.action for cell in row] for row in rows]
    schedule = clocked_schedule("grid", microbatches, orders, stage_rank)
    validate(schedule)
    return Grid(schedule=schedule)


def _row(line: str, number: int) -> tuple[str | None, list[tuple[str, int, int]]] | None:
    """Its label's number, if it has one, and its words with line and column; None for a line without any."""
    written = line.partition("#")[0]
    label = _LABEL.match(written)
    words = [(word[0], number, word.start() + 1) for word in _WORD.finditer(written, label.end() if label else 0)]
    return (label[1] if label else None, words) if label or words else None


def _named(row: tuple[str | None, list[tuple[str, int, int]]], rank: int) -> list[_Cell]:
    label, words = row
    if label is not None and int(label) != rank:
        where = f"line {words[0][1]}: " if words else ""
        raise IllegalSchedule(
            f"{where}the row of rank {label} stands at the place of rank {rank}: rows go by rank, from 0"
        )
    return [_cell(*word, rank) for word in words if not _IDLE.fullmatch(word[0])]


def _cell(word: str, line: int, column: int, rank: int) -> _Cell:
    found = _CELL.fullmatch(word)
    if found is None:
        raise IllegalSchedule(
            f"line {line}, column {column}: {word!r} is no cell: F0, B0, I0 or W0, with a stage before it where a rank "
            "has several, as 2F0; dots where it waits"
        )
    stage = rank if found[1] is None else int(found[1])
    return _Cell(Action(stage, Kind(found[2]), int(found[3])), line, column)


def _placed(rows: Sequence[Sequence[_Cell]]) -> tuple[int, ...]:
    """The rank of each stage: the one that has its cells."""
    ranks: dict[int, tuple[int, _Cell]] = {}
    for rank, row in enumerate(rows):
        for cell in row:
            first, seen = ranks.setdefault(cell.action.stage, (rank, cell))
            if first != rank:
                raise IllegalSchedule(
                    f"{cell.place}: {cell.action} stands on rank {rank}, but stage {cell.action.stage} "
                    f"is rank {first}'s: {seen.action} in {seen.place}"
                )
    last = max(ranks)
    if missing := [stage for stage in range(last + 1) if stage not in ranks]:
        cell = ranks[last][1]
        raise IllegalSchedule(f"{cell.place}: {cell.action} is of stage {last}, but no row has stage {missing[0]}")
    for rank, row in enumerate(rows):
        if not row:
            raise IllegalSchedule(f"rank {rank} computes nothing: each rank has a stage at least")
    return tuple(ranks[stage][0] for stage in range(last + 1))


def _require_each_once(cells: Sequence[_Cell], stage_rank: Sequence[int], microbatches: int) -> None:
    """Each stage's F and B (or I and W) of each microbatch; told by cells, where `validate` would speak of steps."""
    found: dict[Action, _Cell] = {}
    for cell in cells:
        if (before := found.setdefault(cell.action, cell)) is not cell:
            raise IllegalSchedule(f"{cell.place}: {cell.action} a second time; the first is in {before.place}")
    most = next(cell for cell in cells if cell.action.microbatch == microbatches - 1)
    for stage, rank in enumerate(stage_rank):
        for k in range(microbatches):
            if lost := _lost(found, stage, k):
                raise IllegalSchedule(
                    f"rank {rank} lacks {lost}: there are {microbatches} microbatches, 0 to {microbatches - 1} "
                    f"({most.action} in {most.place})"
                )
            whole, *halves = (found.get(Action(stage, kind, k)) for kind in (Kind.B, Kind.I, Kind.W))
            if whole and (twice := next(filter(None, halves), None)):
                raise IllegalSchedule(f"{twice.place}: {twice.action} is a part of {whole.action} in {whole.place}")


def _lost(found: dict[Action, _Cell], stage: int, k: int) -> str:
    forward, whole, inputs, weights = (Action(stage, kind, k) for kind in (Kind.F, Kind.B, Kind.I, Kind.W))
    if forward not in found:
        return str(forward)
    if whole in found or (inputs in found and weights in found):
        return ""
    if inputs in found or weights in found:
        return str(weights if inputs in found else inputs)
    return f"{whole}, or {inputs} and {weights}"

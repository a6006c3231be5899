"""Cells set under one another, for tables that people read."""

from __future__ import annotations

from collections.abc import Sequence

from plait.specs.wording import visible

__all__ = ["columns", "difference"]


def difference(said: float, found: float) -> str:
    """How far what was said lies from what was found, +4%; where that is beyond ten times, × 556; empty of nothing."""
    if not found:
        return ""
    return f"{said / found - 1:+.0%}" if said < 10 * found else f"× {said / found:,.0f}"


def columns(rows: Sequence[Sequence[str]], words: Sequence[int] = (0,)) -> list[str]:
    """Rows of as many cells each, as lines: columns of `words` (their places) to the left, all others to the right."""
    rows = [[visible(cell) for cell in row] for row in rows]  # a cell is one line
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place in words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]

"""`plait profile`: how fast is this machine really? Operations and links, never a training step.

What it finds is written where the planner reads it ($PLAIT_CACHE, else the user's cache), and shown as a page of tables
that says what a person would want to know: the best rate, the worst, what a message costs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plait.cli.output import Answer, JsonFlag

if TYPE_CHECKING:
    from plait.devices.grid import Grid
    from plait.specs.measurements import Measurements

__all__ = ["command", "profile_machine"]

_MOST_RANKS = 64
_PATIENCE = 300.0  # seconds: nobody hears from a rank while it measures


def command(
    out: Annotated[Path | None, typer.Option(help="Where to write, in place of the cache.", metavar="FILE")] = None,
    ranks: Annotated[
        int | None, typer.Option(help="Between how many ranks.", min=1, max=_MOST_RANKS, show_default="one a core")
    ] = None,
    json: JsonFlag = False,
) -> Answer:
    """How fast is this machine really? Operations and links, never a training step; the planner reads what is found."""
    from plait.cli.profile_tables import profile_lines
    from plait.specs.measurement_files import default_path, document_of, require_place, write_measurements

    path = out or default_path()
    require_place(path)
    measured = profile_machine(ranks, tell=_tell)
    write_measurements(measured, path)
    return Answer(
        document=document_of(measured) | {"written": str(path)},
        lines=[*profile_lines(measured), [("", f"written to {path}")]],
    )


def profile_machine(
    ranks: int | None = None, *, grid: Grid | None = None, tell: Callable[[str], None] = lambda stage: None
) -> Measurements:
    """Measure this machine with ranks of its own (default: `devices.benchmark.default_ranks`), in 20 to 60 seconds."""
    from plait.devices.benchmark import default_ranks, measure_machine
    from plait.devices.device import current_device
    from plait.launchers import RankPool

    count = ranks or default_ranks()
    with RankPool(count, backend=current_device().backend) as pool:
        return measure_machine(partial(pool.run, timeout=_PATIENCE), count, grid=grid, tell=tell)


def _tell(stage: str) -> None:
    print(f"timing {stage} ...", file=sys.stderr, flush=True)

"""`plait profile`: how fast is this machine really? Operations and links, never a training step.

What it finds is written where the planner reads it ($PLAIT_CACHE, else the user's cache), and shown as a page of tables
that says what a person would want to know: the best rate, the worst, what a message costs. Under torchrun the links are
those inside of the first host, and those between hosts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plait.cli.output import Answer, JsonFlag, tell

__all__ = ["command"]

_MOST_RANKS = 64


def command(
    out: Annotated[Path | None, typer.Option(help="Where to write, in place of the cache.", metavar="FILE")] = None,
    ranks: Annotated[
        int | None, typer.Option(help="Between how many ranks.", min=1, max=_MOST_RANKS, show_default="one a core")
    ] = None,
    json: JsonFlag = False,
) -> Answer:
    """How fast is this machine really? Operations and links, never a training step; the planner reads what is found."""
    from plait.api import profile
    from plait.cli.profile_tables import profile_lines
    from plait.launchers import together
    from plait.specs.measurement_files import default_path, document_of, require_place, write_measurements

    with together() as world:
        if world is not None and world.rank > 0:  # the first speaks for all
            profile(ranks)
            return Answer(document={}, silent=True)
        path = out or default_path(hosts=1 if world is None else len(world.hosts))
        require_place(path)
        measured = profile(ranks, tell=lambda stage: tell(f"timing {stage} ..."))
        write_measurements(measured, path)
    return Answer(
        document=document_of(measured) | {"written": str(path)},
        lines=[*profile_lines(measured), [("", f"written to {path}")]],
    )

"""The mark: three strands, one an axis of the mesh, plaited.

    ╲ ╱‾╲ ╱‾╲ ╱        strand k stands at sin(θ + 2πk/3) and lies sin(2θ + 4πk/3) above the others
     ╳   ╳   ╳         (a strand crosses over one neighbour, then under the next)
    ╱ ╲_╱ ╲_╱ ╲

It is an ornament and knows nothing of the run.
"""

from __future__ import annotations

from math import pi, sin

from plait.report.markup import Markup
from plait.report.svg import Point, path, picture
from plait.sharding.mesh_shape import AXES

__all__ = ["braid"]

_PIECES = 12  # of a full turn; each is drawn above or below the others as a whole


def braid(turns: int, wavelength: float, height: float, thickness: float) -> Markup:
    """A plait of so many turns; sizes in pixels."""
    pieces = [(turn, piece, strand) for turn in range(turns) for piece in range(_PIECES) for strand in range(len(AXES))]
    lowest_first = sorted(pieces, key=lambda at: _depth(at[0] * _PIECES + at[1] + 0.5, at[2]))
    drawn: list[Markup] = []
    for turn, piece, strand in lowest_first:
        points = [_place(turn * _PIECES + piece + k / 4, strand, wavelength, height, thickness) for k in range(-1, 6)]
        drawn.append(path(points[1:-1], class_="casing", stroke_width=thickness * 1.6))
        drawn.append(path(points, class_=f"strand {AXES[strand]}", stroke_width=thickness))
    return picture(turns * wavelength, height, "Plait", *drawn, class_="braid")


def _angle(piece: float, strand: int) -> float:
    return 2 * pi * (piece / _PIECES + strand / len(AXES))


def _depth(piece: float, strand: int) -> float:
    return sin(2 * _angle(piece, strand))


def _place(piece: float, strand: int, wavelength: float, height: float, thickness: float) -> Point:
    swing = height / 2 - thickness
    return (wavelength * piece / _PIECES, height / 2 + swing * sin(_angle(piece, strand)))

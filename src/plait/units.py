"""Bytes and seconds as numbers that print well. They are plain ints and floats everywhere else."""

from __future__ import annotations

__all__ = ["Bytes", "Seconds"]


def _scaled(value: float, step: float, names: tuple[str, ...]) -> str:
    for name in names[:-1]:
        if abs(value) < step:
            return f"{_digits(value)} {name}" if value != int(value) else f"{int(value)} {name}"
        value /= step
    return f"{_digits(value)} {names[-1]}"


def _digits(value: float) -> str:
    """Three significant ones, but never a power of ten just below the next unit."""
    return f"{value:.0f}" if 999.5 <= abs(value) < 1024 else f"{value:.3g}"


class Bytes(int):
    """A size; prints in powers of 1024: `str(Bytes(26214400)) == "25 MiB"`."""

    def __str__(self) -> str:
        return _scaled(float(self), 1024.0, ("B", "KiB", "MiB", "GiB", "TiB"))


class Seconds(float):
    """A duration; prints in the unit that leaves one to three digits before the point."""

    def __str__(self) -> str:
        value = float(self)
        for limit, scale, name in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (120.0, 1.0, "s"), (7200.0, 1 / 60, "min")):
            if abs(value) < limit:
                return f"{_digits(value * scale)} {name}"
        return f"{_digits(value / 3600)} h"

"""Numbers in words for the page: seconds, sizes, counts, shares; what is not a number reads "not a number".

It knows how a quantity is said, not which quantities there are.
"""

from __future__ import annotations

import re
from math import inf, isfinite

from plait.units import Bytes, Seconds

__all__ = [
    "Unit",
    "byte_unit",
    "count",
    "decimal",
    "energy",
    "money",
    "percent",
    "rate",
    "second_unit",
    "seconds",
    "signed_percent",
    "size",
    "unbroken",
]

Unit = tuple[float, str]  # how many base units make one, and its name

_MISSING = "not a number"
_JOINED = re.compile(r" (?=[\d×])|(?<=×) (?=\d)")


def seconds(value: float) -> str:
    """A duration: "312 ms"."""
    return str(Seconds(value)) if isfinite(value) else _MISSING


def size(value: float) -> str:
    """Bytes: "25 MiB"."""
    return str(Bytes(value)) if isfinite(value) else _MISSING


def count(value: int) -> str:
    """How many: "4,096", from a million on "3.067 million"."""
    for limit, scale, name in ((1e9, 1e6, "million"), (1e12, 1e9, "billion"), (inf, 1e12, "trillion")):
        if 1e6 <= abs(value) < limit:
            return f"{value / scale:.4g} {name}"
    return f"{value:,}"


def rate(value: float) -> str:
    """A throughput in three significant digits, at least in whole numbers from a hundred on: "12,600", "3.14"."""
    if not isfinite(value):
        return _MISSING
    return f"{value:.3g}" if abs(value) < 100 or abs(value) >= 1e15 else f"{round(value):,}"


def decimal(value: float) -> str:
    """A loss: "2.347"; very large and very small ones with a power of ten."""
    if not isfinite(value):
        return _MISSING
    plain = value == 0 or 1e-3 <= abs(value) < 1e5
    return f"{value:.3f}" if plain else f"{value:.3g}"


def money(value: float) -> str:
    """An amount: in hundredths below a thousand, in whole units above: "12.40", "4,310"."""
    if not isfinite(value):
        return _MISSING
    return f"{value:,.2f}" if abs(value) < 1000 else f"{round(value):,}"


def energy(joules: float) -> str:
    """Energy as it is paid for: "312 kWh", from ten thousand of those on "19.7 MWh"."""
    if not isfinite(joules):
        return _MISSING
    hours = joules / 3600
    units = ((1e3, 1.0, "Wh"), (1e7, 1e3, "kWh"), (1e10, 1e6, "MWh"), (inf, 1e9, "GWh"))
    scale, name = next((scale, name) for limit, scale, name in units if abs(hours) < limit)
    return f"{rate(hours / scale)} {name}"


def percent(share: float) -> str:
    """A share: "18.2 %"."""
    return f"{share:.1%}".replace("%", " %") if isfinite(share) else _MISSING


def signed_percent(share: float) -> str:
    """A relative difference: "+4.0 %", "−0.3 %"."""
    if not isfinite(share):
        return _MISSING
    written = f"{share:+.1%}".replace("%", " %").replace("-", "−")
    return written[1:] if written[1:] == "0.0 %" else written


def unbroken(words: str) -> str:
    """The same with its numbers kept on the line of what they count, "pipeline 4 ×", "8 × 4", and no name cut at a
    hyphen."""
    return _JOINED.sub("\u00a0", words).replace("-", "\u2011")


def second_unit(largest: float) -> Unit:
    """The unit in which an axis of seconds up to `largest` reads well."""
    for limit, unit in ((1e-3, (1e-6, "µs")), (1.0, (1e-3, "ms")), (600.0, (1.0, "s")), (36000.0, (60.0, "min"))):
        if largest < limit:
            return unit
    return (3600.0, "h")


def byte_unit(largest: float) -> Unit:
    """The unit in which an axis of bytes up to `largest` reads well."""
    for power, name in enumerate(("B", "KiB", "MiB", "GiB")):
        if largest < 2.0 * 1024 ** (power + 1):
            return (1024.0**power, name)
    return (1024.0**4, "TiB")

"""What would hide a slow link, in lines for a person; `hiding` has found it.

    The link between hosts (188 Mbit/s, 130 µs a message) holds up data 2, microbatch 8: 7.04 s a step, 3.02 s if ...
    What would hide it, and how much of that speed it keeps:
      diloco, int8, every 32 steps  3.07 s   98%   (every 16 steps: 96%, every 8 steps: 93%)
      int8                          3.56 s   85%
      as it is                      7.04 s   43%
    Each of these changes the mathematics ...

It knows words alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from plait.planner.hiding import Choice, Hiding
from plait.plans.describe import plan_name
from plait.units import Seconds

__all__ = ["hiding_lines"]

_Row = tuple[str, str, str, str]  # name, seconds, share, other intervals


def hiding_lines(found: Hiding) -> Iterator[str]:
    """A paragraph of them."""
    link = f"{8 * found.link.bytes_per_second / 1e6:.3g} Mbit/s, {Seconds(found.link.alpha)} a message"
    least, dense = found.unhindered_seconds, found.dense_seconds
    yield (
        f"The link between hosts ({link}) holds up {plan_name(found.plan)}: {Seconds(dense)} a step, "
        f"{Seconds(least)} if replicas had nothing to tell each other."
    )
    yield "What would hide it, and how much of that speed it keeps:"
    rows = [*_rows(found.choices), ("as it is", str(Seconds(dense)), f"{least / dense:.0%}", "")]
    name, seconds = (max(len(row[column]) for row in rows) for column in (0, 1))
    for row in rows:
        yield f"  {row[0].ljust(name)}  {row[1].rjust(seconds)}  {row[2].rjust(4)}   {row[3]}".rstrip()
    first = ", ".join(_toml(key, value) for key, value in found.choices[0].keys.items())
    yield (
        "Each of these changes the mathematics (`plait verify` says LOSSY), so that none is chosen for you; "
        f"to take the first, write {first} in [plan]."
    )


def _rows(choices: Sequence[Choice]) -> Iterator[_Row]:
    """One for each form: the fastest of it, and what shorter intervals keep."""
    forms: dict[str, list[Choice]] = {}
    for one in choices:
        forms.setdefault(_form(one), []).append(one)
    for form, (fastest, *others) in forms.items():
        name = ", ".join(part for part in (form, _interval(fastest)) if part)
        shorter = ", ".join(f"{_interval(one)}: {one.kept:.0%}" for one in others)
        yield name, str(Seconds(fastest.step_seconds)), f"{fastest.kept:.0%}", shorter and f"({shorter})"


def _form(choice: Choice) -> str:
    return ", ".join(str(choice.keys[key]) for key in ("synchronisation", "compression") if key in choice.keys)


def _interval(choice: Choice) -> str:
    steps = choice.keys.get("local_steps")
    return f"every {steps} steps" if steps else ""


def _toml(key: str, value: object) -> str:
    return f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}"

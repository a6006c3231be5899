"""What would hide a slow link, in lines for a person; `hiding` has found it.

    The link between hosts (188 Mbit/s, 130 µs a message) holds up data 2, microbatch 8: 7.04 s a step, 3.02 s if ...
    What would hide it, and how much of that speed a run of 200 steps keeps, by its mean step:
                                    steady    mean
      int8                          3.56 s  3.56 s   85%
      diloco, int8, every 32 steps  3.07 s  4.26 s   71%   60 dense steps first (every 16 steps: 70%)
      as it is                      7.04 s  7.04 s   43%
    Each of these changes the mathematics ...
    To take one, write compression = "int8" in [plan]: it keeps 85%, none keeps nine tenths.
      int8    rounds every number ...

Beside the prices stands what each form leaves out, in an order of its own; what that costs in learning was measured,
and stands in docs/benchmarks.md. It knows words alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from plait.planner.hiding import NEARLY, Choice, Hiding
from plait.plans.describe import plan_name
from plait.units import Seconds

__all__ = ["hiding_lines"]

_Row = tuple[str, str, str, str, str]  # name, steady seconds, mean seconds, share, what to know

# a key's value up to its ":", and what it leaves out; those that leave a gradient whole first
_LEAVES_OUT = {
    "fp16": "rounds every number; the rest is added to what is sent next",
    "int8": "rounds every number, coarsely; the rest is added to what is sent next",
    "powersgd": "sends the product of two thin matrices; the rest, much of it, is added to what is sent next",
    "local-sgd": "replicas learn alone, each from its part of a batch, and take the mean of their weights",
    "diloco": "as local-sgd, and an outer momentum carries the mean further",
}
_LEARNED = 'docs/benchmarks.md, "What loses something, and what it learns"'


def hiding_lines(found: Hiding) -> Iterator[str]:
    """A paragraph of them."""
    link = f"{8 * found.link.bytes_per_second / 1e6:.3g} Mbit/s, {Seconds(found.link.alpha)} a message"
    least, dense = found.unhindered_seconds, Seconds(found.dense_seconds)
    another = "" if found.best == found.plan else "another plan, "
    yield (
        f"The link between hosts ({link}) holds up {another}{plan_name(found.plan)}: {dense} a step, "
        f"{Seconds(least)} if replicas had nothing to tell each other."
    )
    yield f"What would hide it, and how much of that speed a run of {found.steps} steps keeps, by its mean step:"
    rows: list[_Row] = [("", "steady", "mean", "", ""), *_rows(found.choices)]
    if found.best != found.plan:
        best = str(Seconds(found.best_seconds))
        rows.append(("the best plan, above", best, best, f"{least / found.best_seconds:.0%}", plan_name(found.best)))
    yield from _table([*rows, ("as it is", str(dense), str(dense), f"{least / found.dense_seconds:.0%}", "")])
    yield "Each of these changes the mathematics (`plait verify` says LOSSY), so that none is chosen for you."
    yield _advice(found)
    yield from _learning(found.choices)


def _advice(found: Hiding) -> str:
    """What is advised, as it can be written, and why; where a dense beginning is what costs, what would shorten it."""
    taken = found.advised
    keys = ", ".join(_toml(key, value) for key, value in found.advice.items())
    why = "and least was seen to be lost by it" if taken.kept >= NEARLY else "none keeps nine tenths"
    advice = f"To take one, write {keys} in [plan]: it keeps {taken.kept:.0%}, {why}."
    if taken.kept < NEARLY <= found.unhindered_seconds / taken.step_seconds:
        first = f"{taken.dense_steps} of its {found.steps} steps are dense"
        advice += f" A longer run or a shorter training.warmup_steps keeps more: {first}."
    return advice


def _table(rows: Sequence[_Row]) -> Iterator[str]:
    name, steady, mean = (max(len(row[column]) for row in rows) for column in range(3))
    for row in rows:
        cells = f"{row[0].ljust(name)}  {row[1].rjust(steady)}  {row[2].rjust(mean)}  {row[3].rjust(4)}   {row[4]}"
        yield f"  {cells}".rstrip()


def _learning(choices: Sequence[Choice]) -> Iterator[str]:
    """What each form that is named leaves out."""
    named = {str(value).partition(":")[0] for one in choices for value in one.keys.values()}
    there = [form for form in _LEAVES_OUT if form in named]
    yield f"The order is one of speed. What each leaves out (what was seen to be lost by it: {_LEARNED}):"
    width = max(map(len, there))
    yield from (f"  {form.ljust(width)}  {_LEAVES_OUT[form]}" for form in there)


def _rows(choices: Sequence[Choice]) -> Iterator[_Row]:
    """One for each form: the fastest of it, and what shorter intervals keep."""
    forms: dict[str, list[Choice]] = {}
    for one in choices:
        forms.setdefault(_form(one), []).append(one)
    for form, (fastest, *others) in forms.items():
        name = ", ".join(part for part in (form, _interval(fastest)) if part)
        shorter = ", ".join(f"{_interval(one)}: {one.kept:.0%}" for one in others)
        beginning = f"{fastest.dense_steps} dense steps first" if fastest.dense_steps else ""
        known = " ".join(part for part in (beginning, shorter and f"({shorter})") if part)
        seconds = (str(Seconds(fastest.step_seconds)), str(Seconds(fastest.run_seconds)))
        yield name, *seconds, f"{fastest.kept:.0%}", known


def _form(choice: Choice) -> str:
    """As the plan has it, what the job fixed among it."""
    plan = choice.plan
    return ", ".join(one for one in (plan.synchronisation, plan.compression) if one not in ("all-reduce", "none"))


def _interval(choice: Choice) -> str:
    steps = choice.keys.get("local_steps")
    return f"every {steps} steps" if steps else ""


def _toml(key: str, value: object) -> str:
    return f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}"

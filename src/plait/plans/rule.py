"""What a rule between keys is, and how a broken one is explained: the key to blame, and values that would be legal.

Which key is wrong? Where 3 · 1 · 2 ranks are asked of a cluster of 4, any of four numbers could be. Blamed is the one
with a value that mends this rule, breaks no other, and mends the most of those that are broken too; such values are
what the user is told. A rule that the same value mends is not reported again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from plait.errors import Problem
from plait.plans.arrangements import divisors_near
from plait.specs.job import Job

__all__ = [
    "Breach",
    "Remedy",
    "Rule",
    "broken",
    "degrees_near",
    "explain",
    "multiples_near",
    "nearest_first",
    "with_value",
]

_TRIED = 96  # candidates of a key, nearest first
_NEAR = 16  # neighbours on either side
_SHOWN = 8

Remedy = tuple[str, Sequence[Any]]  # a key, and values to try, best first


@dataclass(frozen=True, kw_only=True)
class Breach:
    """A broken rule in words, and what to try. If no value of any remedy helps, `key` is to blame, `legal` there."""

    key: str
    message: str
    remedies: tuple[Remedy, ...] = ()
    legal: str = ""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """`reads`: the keys it speaks about. `breach` is asked only where the rule does not hold.

    `last`: it says something only where no key that it reads is to blame for anything else.
    """

    reads: frozenset[str]
    holds: Callable[[Job], bool]
    breach: Callable[[Job], Breach]
    last: bool = False


def broken(rules: Iterable[Rule], job: Job) -> list[Rule]:
    """The rules that do not hold."""
    return [rule for rule in rules if not rule.holds(job)]


def explain(rule: Rule, job: Job, mended: Job, rules: Sequence[Rule]) -> tuple[Problem, Job | None]:
    """Why the rule does not hold, and `mended` with the nearest legal value too; None if no one value mends it.

    The words are about `job`; values are tried on `mended`, which is free of what has been explained before.
    """
    breach = rule.breach(job)
    before = [other for other in broken(rules, mended) if other is not rule]
    best_key, best_score, best = breach.key, 0, list[Any]()
    for key, values in breach.remedies:
        scores = [_score(with_value(mended, key, value), before, rules) for value in values[:_TRIED]]
        score = max(scores, default=0)
        if score > best_score:
            helping = [value for value, reached in zip(values, scores, strict=False) if reached == score]
            best_key, best_score, best = key, score, helping[:_SHOWN]
    if not best:
        return Problem(key=breach.key, message=breach.message, legal=breach.legal), None
    legal = _in_words(best, breach.legal)
    return Problem(key=best_key, message=breach.message, legal=legal), with_value(mended, best_key, best[0])


def _score(candidate: Job, before: Sequence[Rule], rules: Sequence[Rule]) -> int:
    """How many rules the candidate mends, the explained one counted; 0 if it breaks one that held, or mends nothing."""
    after = broken(rules, candidate)
    return 1 + len(before) - len(after) if all(other in before for other in after) else 0


def _in_words(best: Sequence[Any], span: str) -> tuple[Any, ...] | str:
    """The values in order; the rule's own words where it is plain that they are a whole span."""
    if not all(isinstance(value, int) for value in best):
        return tuple(best)
    values = sorted(best)
    whole = len(values) == _SHOWN and values[-1] - values[0] == _SHOWN - 1
    return span if whole and span else tuple(values)


def with_value(job: Job, key: str, value: Any) -> Job:
    """The job with another value under `key`."""
    table, _, name = key.partition(".")
    if table == "plan":
        return replace(job, constraints={**job.constraints, name: value})
    return replace(job, **{table: replace(getattr(job, table), **{name: value})})


def nearest_first(values: Iterable[int], to: int) -> list[int]:
    """The values by their distance from `to`."""
    return sorted(values, key=lambda value: (abs(value - to), value))


def multiples_near(number: int, step: int) -> list[int]:
    """Some positive multiples of `step`, the nearest to `number` first."""
    times = number // step
    return nearest_first((step * k for k in range(max(1, times - _NEAR), times + _NEAR)), number)


def degrees_near(number: int, most: int, job: Job) -> list[int]:
    """Degrees from 1 to `most`, the nearest to `number` first: its neighbours, and what divides the ranks."""
    neighbours = range(max(1, min(number, most) - 2 * _NEAR), most + 1)[: 4 * _NEAR]
    dividing = (degree for degree in divisors_near(job.cluster.ranks, number) if degree <= most)
    return nearest_first({*neighbours, *dividing}, number)

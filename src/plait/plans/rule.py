"""What a rule between keys is, and how a broken one is explained: the key to blame, and values that would be legal.

Which key is wrong? Where 3 · 1 · 2 ranks are asked of a cluster of 4, any of four numbers could be. Blamed is the one
with a value that mends this rule, breaks no other, and mends the most of those that are broken too; such values are
what the user is told. A rule that the same value mends is not reported again.

    a value that mends the job as it stands              [1, 2]
    one that does so once an earlier advice is taken     "12, once plan.tensor = 3"
    one that needs others to change with it              "1, with plan.stages = [7]"
    none that could be found                             the rule's own words
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from plait.errors import Problem
from plait.plans.arrangements import divisors_near
from plait.specs.job import Job
from plait.specs.tables import accepts
from plait.specs.wording import shown

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
    "with_values",
]

_TRIED = 96  # candidates of a key, nearest first
_NEAR = 16  # neighbours on either side
_SHOWN = 8
_COMPANY = 3  # keys that may have to change together with the one to blame

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
    """`reads`: the keys it speaks about. `breach` is asked only where the rule does not hold."""

    reads: frozenset[str]
    holds: Callable[[Job], bool]
    breach: Callable[[Job], Breach]


@dataclass(frozen=True, kw_only=True)
class _Advice:
    """Values for `key`, best first: each mends the rule and `mended` others, and breaks none. `alone`: in the job as it
    stands, too."""

    key: str
    values: Sequence[Any]
    mended: int
    alone: bool


def broken(rules: Iterable[Rule], job: Job) -> list[Rule]:
    """The rules that do not hold."""
    return [rule for rule in rules if not rule.holds(job)]


def explain(
    rule: Rule, job: Job, settled: Mapping[str, Any], rules: Sequence[Rule]
) -> tuple[Problem, Mapping[str, Any]]:
    """Why the rule does not hold in `job`, even with the values `settled` by the advice that was given before; and
    those values with the new advice among them.
    """
    told, now = rule.breach(job), with_values(job, settled)
    key, legal, more = _remedy(rule, job, now, settled, rules)
    return Problem(key=key or told.key, message=told.message, legal=legal or told.legal), {**settled, **more}


def _remedy(
    rule: Rule, job: Job, now: Job, settled: Mapping[str, Any], rules: Sequence[Rule]
) -> tuple[str, tuple[Any, ...] | str, dict[str, Any]]:
    """The key to blame ("": the rule's own), what is legal there ("": the rule's own words), and what is settled."""
    breach = rule.breach(now)
    open_remedies = [
        (key, [value for value in values[:_TRIED] if accepts(key, value)])
        for key, values in breach.remedies
        if key not in settled
    ]
    found = [advice for one in open_remedies if (advice := _advice(rule, one, job, now, rules))]
    if found:
        best = max(found, key=lambda advice: (advice.mended, advice.alone))
        legal = _in_words(best.values, breach.legal)
        if not best.alone:
            taken = {key: value for key, value in settled.items() if key in rule.reads} or settled
            legal = f"{_listed(legal)}, once {_settings(taken)}"
        return best.key, legal, {best.key: best.values[0]}
    for key, values in open_remedies:
        for value in values[:_SHOWN]:
            if company := _company(now, {**settled, key: value}, rule, rules):
                others = {k: v for k, v in company.items() if k != key and k not in settled}
                return key, f"{shown(value)}, with {_settings(others)}", company
    return "", "", {}


def _advice(rule: Rule, remedy: Remedy, job: Job, now: Job, rules: Sequence[Rule]) -> _Advice | None:
    """Those of a remedy's values that mend the most; of these, if there are any, those that mend the job as it is."""
    key, values = remedy
    before = _others(rule, now, rules)
    scores = [_score(with_value(now, key, value), before, rules, _matters_to(key)) for value in values]
    most = max(scores, default=0)
    if not most:
        return None
    helping = [value for value, score in zip(values, scores, strict=True) if score == most]
    at_first = _others(rule, job, rules)
    alone = [value for value in helping if _score(with_value(job, key, value), at_first, rules)]
    return _Advice(key=key, values=(alone or helping)[:_SHOWN], mended=most, alone=bool(alone))


def _others(rule: Rule, job: Job, rules: Sequence[Rule]) -> list[Rule]:
    return [other for other in broken(rules, job) if other is not rule]


def _score(
    candidate: Job, before: Sequence[Rule], rules: Sequence[Rule], matters: Callable[[Rule], bool] = lambda rule: True
) -> int:
    """How many rules that matter the candidate mends, the explained one counted; 0 if it breaks one that held, or does
    not mend that one."""
    after = broken(rules, candidate)
    if not all(other in before for other in after):
        return 0
    return 1 + sum(matters(other) and other not in after for other in before)


def _matters_to(key: str) -> Callable[[Rule], bool]:
    """A model is not changed for the sake of a plan: what it mends there is no merit."""
    return lambda rule: not key.startswith("model.") or all(read.startswith("model.") for read in rule.reads)


def _company(now: Job, chosen: Mapping[str, Any], rule: Rule, rules: Sequence[Rule]) -> dict[str, Any]:
    """`chosen`, and values of further keys with which nothing is broken that wasn't before; empty if there are none."""
    held = [rule, *(other for other in rules if other.holds(now))]
    company, candidate = dict(chosen), with_values(now, chosen)
    for _ in range(_COMPANY):
        wrong = broken(held, candidate)
        if not wrong or rule in wrong:
            break
        options = [
            (key, value)
            for key, values in wrong[0].breach(candidate).remedies
            if key not in company
            for value in values[:_SHOWN]
            if accepts(key, value) and wrong[0].holds(with_value(candidate, key, value))
        ]
        if not options:
            break
        key, value = min(options, key=lambda option: len(broken(held, with_value(candidate, *option))))
        company[key], candidate = value, with_value(candidate, key, value)
    return {} if broken(held, candidate) else company


# ---- words and numbers ----------------------------------------------------------------------------------------------


def _in_words(best: Sequence[Any], span: str) -> tuple[Any, ...] | str:
    """The values in order; the rule's own words where it is plain that they are a whole span."""
    if not all(isinstance(value, int) for value in best):
        return tuple(best)
    values = sorted(best)
    whole = len(values) == _SHOWN and values[-1] - values[0] == _SHOWN - 1
    return span if whole and span else tuple(values)


def _listed(legal: tuple[Any, ...] | str) -> str:
    return legal if isinstance(legal, str) else " or ".join(shown(value) for value in legal)


def _settings(values: Mapping[str, Any]) -> str:
    return " and ".join(f"{key} = {shown(value)}" for key, value in values.items())


def with_values(job: Job, values: Mapping[str, Any]) -> Job:
    """The job with other values under several keys."""
    for key, value in values.items():
        job = with_value(job, key, value)
    return job


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
    """Degrees from 1 to `most`, the nearest to `number` first: its neighbours, and what divides the ranks, which goes
    before all others where the ranks are settled."""
    neighbours = range(max(1, min(number, most) - 2 * _NEAR), most + 1)[: 4 * _NEAR]
    dividing = {degree for degree in divisors_near(job.cluster.ranks, number) if degree <= most}
    first = set[int]() if job.cluster.ranks_open else dividing
    return sorted({*neighbours, *dividing}, key=lambda degree: (degree not in first, abs(degree - number), degree))

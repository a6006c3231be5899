"""What is offered for a key that was refused by itself: of its values, those that go with the rest of the job.

    precision = "fp16", gradient_precision = "fp64"        "fp32" and "bf16" are no help: "fp64" is

The rules between keys are silent about a refused key, as the job holds a stand-in there. So each value that is offered
is put in its place, and the whole table read again: whoever takes the advice meets no new error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from plait.errors import Problem
from plait.plans.legality import broken_rules
from plait.plans.rule import Rule
from plait.specs.assembly import Assembled
from plait.specs.files import parse_job
from plait.specs.tables import known_keys
from plait.specs.wording import shown

__all__ = ["sound_offers"]


def sound_offers(table: Mapping[str, Any], parsed: Assembled) -> tuple[Problem, ...]:
    """The problems of a parsed table, the values that they offer sifted; in words, where none would do by itself."""
    return tuple(_sifted(problem, table, parsed) for problem in parsed.problems)


def _sifted(problem: Problem, table: Mapping[str, Any], parsed: Assembled) -> Problem:
    section, _, name = problem.key.partition(".")
    if isinstance(problem.legal, str) or name not in (known_keys(section) if section in known_keys("") else ()):
        return problem
    kept = [value for value in problem.legal if _fits(table, section, name, value, parsed)]
    if kept:
        return replace(problem, legal=tuple(kept))
    values = ", ".join(shown(value) for value in problem.legal)
    return replace(problem, legal=f"{values}, each with changes elsewhere")


def _fits(table: Mapping[str, Any], section: str, name: str, value: object, parsed: Assembled) -> bool:
    again = parse_job({**table, section: {**table[section], name: value}})
    known = {problem.key for problem in parsed.problems}
    if any(problem.key not in known or problem.key == f"{section}.{name}" for problem in again.problems):
        return False
    before, after = _broken(parsed), _broken(again)
    return all(rule in before for rule in after)


def _broken(parsed: Assembled) -> list[Rule]:
    return broken_rules(parsed.job, parsed.unknown)

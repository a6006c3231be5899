"""Sifting a table that a stranger wrote: what can be taken, and a problem for each key that can't, all at once.

    {"plan": {"tensor": "4", "context": 2, "dtaa": 2, "data": 2}}
        values     {"plan": {"data": 2}}
        problems   plan.tensor (a text), plan.context (not built yet), plan.dtaa (unknown; nearest: data)

It judges keys one by one; what they mean together is not its matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from plait.errors import Problem
from plait.specs.choices import CHOICES, COMING_KEYS, judge
from plait.specs.keys import unknown_key
from plait.specs.tables import TABLES, JobTable, description
from plait.specs.values import LARGEST
from plait.specs.wording import kind_of, shown

__all__ = ["Sifted", "sift"]

_OWNERS = {"stages": "stage", "tensor_shares": "tensor rank", "data_shares": "data rank"}

_Tables = dict[str, dict[str, Any]]
_Keys = Mapping[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Sifted:
    """`values`: the tables, of the right kinds, with the good keys only. `refused`: every key (or table) left out.
    `here`: whether it is this machine, or one like it, that is to run the job."""

    values: _Tables
    problems: tuple[Problem, ...]
    here: bool

    @property
    def refused(self) -> frozenset[str]:
        """The keys of the problems."""
        return frozenset(problem.key for problem in self.problems)


def sift(table: Mapping[str, Any], *, here: bool | None = None) -> Sifted:
    """Judge every key of a job's tables by itself. Nothing is raised; a table without fault has no problems.

    `here`: whether this machine is to run it; left out, a table whose `[cluster]` has a device or groups is for others.
    """
    here = _is_here(table) if here is None else here
    problems: dict[str, Problem] = {}
    while True:
        try:
            values: _Tables = _adapter().validate_python(table)
            break
        except ValidationError as error:
            details = sorted(error.errors(include_url=False), key=_of_a_kind)
        for detail in details:
            problem = _problem(table, detail)
            problems.setdefault(problem.key, problem)
        table = _without(table, details)
    judged = [judge(f"{name}.{key}", value, here=here) for name, keys in values.items() for key, value in keys.items()]
    unbuilt = {problem.key: problem for problem in judged if problem is not None}
    kept = {name: {k: v for k, v in keys.items() if f"{name}.{k}" not in unbuilt} for name, keys in values.items()}
    return Sifted(values=kept, problems=(*problems.values(), *unbuilt.values()), here=here)


def _is_here(table: Mapping[str, Any]) -> bool:
    cluster = table.get("cluster")
    return not isinstance(cluster, Mapping) or not {"device", "groups"} & {str(key) for key in cast("_Keys", cluster)}


@cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(JobTable)


def _problem(table: Mapping[str, Any], detail: ErrorDetails) -> Problem:
    names = [part for part in detail["loc"] if isinstance(part, str)]
    if detail["type"] == "extra_forbidden":
        return unknown_key(".".join(names[:-1]), names[-1])
    inner = ".".join(names[:2]) in TABLES and len(names) > 2  # a key of a table inside a table
    key, leaf = ".".join(names[: 2 + inner]), names[: 2 + inner][-1]
    given, wrong = (detail["input"] if inner else _value(table, names)), detail["input"]
    inside = f"{shown(wrong)}{_place(leaf, detail)} in {leaf} = {shown(given)}"
    subject = f"{leaf} = {shown(given)}" if given is wrong else inside
    return Problem(key=key, message=f"{subject} {_complaint(detail)}", legal=_legal(key))


def _of_a_kind(detail: ErrorDetails) -> bool:
    """Where a number may be whole or not, what is wrong with the number goes before what kind it isn't."""
    return detail["type"].endswith("_type")


def _place(leaf: str, detail: ErrorDetails) -> str:
    """Whose number of a list it is, where each belongs to somebody: " of stage 3"."""
    number = next((part for part in reversed(detail["loc"]) if isinstance(part, int)), None)
    return f" of {_OWNERS[leaf]} {number}" if leaf in _OWNERS and number is not None else ""


def _value(table: Mapping[str, Any], names: list[str]) -> object:
    return table[names[0]] if len(names) == 1 else table[names[0]][names[1]]


def _complaint(detail: ErrorDetails) -> str:
    if detail["type"] == "finite_number":
        return "is not finite"
    if detail["type"].endswith(("too_short", "too_long")):
        return "has the wrong length" if detail["input"] else "is empty"
    if detail.get("ctx", {}).get("le") == LARGEST:
        return f"is out of range, above {LARGEST}, the largest number of TOML"
    return f"is {kind_of(detail['input'])}" if detail["type"].endswith("_type") else "is out of range"


def _legal(key: str) -> tuple[object, ...] | str:
    if key in COMING_KEYS:
        return "leave it out"
    choice = CHOICES.get(key)
    return choice.built if choice else description(key)


def _without(table: Mapping[str, Any], details: list[ErrorDetails]) -> dict[str, Any]:
    """The table without the keys that the details complain of."""
    wrong = {detail["loc"][:2] for detail in details}
    kept: dict[str, Any] = {}
    for name, keys in table.items():
        if (name,) in wrong:
            continue
        kept[name] = {key: value for key, value in keys.items() if (name, key) not in wrong}
    return kept

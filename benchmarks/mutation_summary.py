"""What a campaign of mutations comes to: counts by operator and by module, the score, and everything that survived.

The score leaves out only what a person found to change nothing (`mutations_reviewed.toml`), and is computed here, from
the record and the mutations that the source has today.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from plait.defects.mutation_sites import OPERATORS
from plait.defects.mutations import mutations

__all__ = ["moved", "read_record", "reviewed", "summary"]

_REVIEWED = Path(__file__).with_name("mutations_reviewed.toml")
_LOUD = ("raised", "hang")


def read_record(record: Path) -> dict[str, dict[str, Any]]:
    """The last line of each mutation that there still is; a line that was torn off in writing is as if it were not."""
    current = {mutation.key for mutation in mutations()}
    found: dict[str, dict[str, Any]] = {}
    for text in record.read_text().splitlines() if record.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if line["mutation"] in current:
            found[line["mutation"]] = line
    return found


@lru_cache(maxsize=1)
def reviewed() -> dict[str, dict[str, str]]:
    """By mutation: the judgement, "equivalent" or "gap", and its reason."""
    table = tomllib.loads(_REVIEWED.read_text()) if _REVIEWED.exists() else {}
    return {one["mutation"]: one for one in table.get("reviewed", [])}


def moved() -> tuple[str, ...]:
    """Mutations that were looked at and that the source no longer has: their site was renamed, changed or taken out."""
    current = {mutation.key for mutation in mutations()}
    return tuple(key for key in reviewed() if key not in current)


def summary(record: Mapping[str, Mapping[str, Any]]) -> str:
    """The tables, in markdown."""
    judged = reviewed()
    lines = list(record.values())
    equivalent = [one for one in lines if one["caught"] is None and _judgement(one, judged) == "equivalent"]
    counted = [one for one in lines if one not in equivalent]
    caught = [one for one in counted if one["caught"] is not None]
    score = len(caught) / len(counted) if counted else 0.0
    sections = [
        f"{len(lines)} of {len(mutations())} mutations tried; {len(equivalent)} change nothing. Of the other "
        f"{len(counted)}, {len(caught)} are caught: **{score:.1%}** "
        f"({sum(one['caught'] not in _LOUD for one in caught)} by their verdict, "
        f"{sum(one['caught'] in _LOUD for one in caught)} loudly).",
        _table("operator", OPERATORS, "operator", lines, equivalent),
        _table("module", sorted({one["module"] for one in lines}), "module", lines, equivalent),
        "Survivors:\n" + _survivors([one for one in counted if one["caught"] is None], judged),
        "Equivalent:\n" + _survivors(equivalent, judged),
        "Reviewed, and no longer in the source:\n" + ("\n".join(f"- `{key}`" for key in moved()) or "none"),
    ]
    return "\n\n".join(sections)


def _judgement(line: Mapping[str, Any], judged: Mapping[str, Mapping[str, str]]) -> str:
    return judged.get(line["mutation"], {}).get("judgement", "not looked at")


def _table(
    title: str,
    names: Iterable[str],
    key: str,
    lines: list[Mapping[str, Any]],
    equivalent: list[Mapping[str, Any]],
) -> str:
    rows = [f"| {title} | all | equivalent | by verdict | raised | hang | survived | score |", "|---|" + "---:|" * 7]
    for name in names:
        here = [one for one in lines if one[key] == name]
        same = sum(one[key] == name for one in equivalent)
        how = Counter(one["caught"] for one in here)
        loud = [how[word] for word in _LOUD]
        verdicts = len(here) - sum(loud) - how[None]
        score = (len(here) - how[None]) / (len(here) - same) if len(here) > same else 1.0
        cells = [name, len(here), same, verdicts, *loud, how[None] - same, f"{score:.1%}"]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows)


def _survivors(lines: list[Mapping[str, Any]], judged: Mapping[str, Mapping[str, str]]) -> str:
    found = [
        f"- `{one['description']}`: {_judgement(one, judged)}. {judged.get(one['mutation'], {}).get('reason', '')}"
        for one in lines
    ]
    return "\n".join(found) or "none"

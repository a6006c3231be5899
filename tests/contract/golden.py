"""The contract's golden files: the page itself, its job, and one sample of each JSON document.

A sample in `documents/NAME.json` stands for its shape: a document has at least its keys, of its types. Any element of
a list stands for what elements may be; null stands for anything; {"one of": [a, b]} stands for either.
"""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
JOB = HERE / "job.toml"
PAGE = HERE / "README.md"


def golden(name: str) -> Any:
    """The sample of a document: `golden("check")`."""
    return json.loads((HERE / "documents" / f"{name}.json").read_text(encoding="utf-8"))


def contract_table(changes: Mapping[str, Any] | None = None, without: Iterable[str] = ()) -> dict[str, Any]:
    """The contract's job as tables, with other values under some keys ("plan.tensor"), and without some."""
    tables = copy.deepcopy(tomllib.loads(JOB.read_text(encoding="utf-8")))
    for key in without:
        table, _, name = key.partition(".")
        del (tables[table] if name else tables)[name or table]
    for key, value in (changes or {}).items():
        table, _, name = key.partition(".")
        if name:
            tables.setdefault(table, {})[name] = value
        else:
            tables[table] = value
    return tables


def assert_shape(document: Any, sample: Any, path: str = "document") -> None:
    """The document has the sample's keys and types; more keys may stand beside them."""
    found = mismatch(document, sample, path)
    assert found is None, found


def mismatch(document: Any, sample: Any, path: str = "document") -> str | None:
    """Where the document differs in shape from the sample; None if it does not."""
    if sample is None:
        return None
    if isinstance(sample, dict) and set(sample) == {"one of"}:
        found = [mismatch(document, choice, path) for choice in sample["one of"]]
        return None if None in found else f"{path}: none of the shapes: {found}"
    if isinstance(sample, dict):
        if not isinstance(document, dict):
            return f"{path}: {document!r} is no table"
        missing = sorted(set(sample) - set(document))
        inside = (mismatch(document[key], value, f"{path}.{key}") for key, value in sample.items() if key in document)
        return f"{path}: lacks {missing}" if missing else next((found for found in inside if found), None)
    if isinstance(sample, list):
        if not isinstance(document, list):
            return f"{path}: {document!r} is no list"
        either = {"one of": sample} if sample else None
        inside = (mismatch(item, either, f"{path}[{number}]") for number, item in enumerate(document))
        return next((found for found in inside if found), None)
    number = type(sample) is float and type(document) is int  # 1 is a fine 1.0
    return None if number or type(document) is type(sample) else f"{path}: {document!r} is no {type(sample).__name__}"

"""A table of measured runs, line by line: numbers as numbers, and what is malformed with its line and column.

It knows the columns (`COLUMNS`) and their kinds; what a run means is `reading`'s.
"""

from __future__ import annotations

import csv
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from io import StringIO
from math import isfinite
from pathlib import Path

from plait.errors import UnusableInput
from plait.evaluation.memory_words import MENTIONED
from plait.specs.values import DEEPEST, MOST_RANKS

__all__ = ["COLUMNS", "MEASURED", "Row", "read_rows"]

_TEXTS = (
    "case_id", "source", "source_file", "model", "arch", "gpu", "interconnect", "recompute", "seq_parallel",
    "precision", "zero_fsdp", "framework", "tflops_kind", "mem_kind", "tier", "notes",
)  # fmt: skip
_WHOLE = (
    "layers", "hidden", "heads", "kv_heads", "ffn", "vocab", "seq", "n_gpus", "gpus_per_node", "tp", "pp", "dp", "cp",
    "ep", "vpp", "mbs", "gbs",
)  # fmt: skip
MEASURED = ("iter_s", "tflops_gpu", "tok_s_gpu", "mfu_pct", "hfu_pct", "mem_gib")
_REAL = ("params_b", *MEASURED)
COLUMNS = (*_TEXTS, *_WHOLE, *_REAL)
_NEEDED = ("model", "gpu", "n_gpus", "gbs", "seq", "iter_s")
_WORDS = {"vpp": re.compile("interleav", re.IGNORECASE), **dict.fromkeys(MEASURED, MENTIONED)}
_LEAST, _MOST = 1e-9, 1e12
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?")
_DEPTHS, _DEGREES = ("layers", "heads", "kv_heads"), ("n_gpus", "gpus_per_node", "tp", "pp", "dp", "cp", "ep", "vpp")
# Groups of three digits, set apart by commas or blanks. A comma and three digits alone may be a decimal comma, where a
# number needs not be whole.
_GROUPED = re.compile(r"[0-9]{1,3}(?:(,[0-9]{3})+|(?:[ \u00a0\u2009\u202f][0-9]{3})+)(\.[0-9]+)?")
_NOTHING = re.compile(
    r"[-–—?.\s]*|n/?a|none|null|unknown|unstated|tbd|not (?:stated|given|known|reported|applicable)", re.IGNORECASE
)
_PLAIN = {
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2212"), "-"),
    **dict.fromkeys(map(ord, "\u00a0\u2009\u202f"), " "),
}
_LARGEST = dict.fromkeys(_DEPTHS, DEEPEST) | dict.fromkeys(_DEGREES, MOST_RANKS)  # as in a job
_LONGEST = 50  # lines of one row, whose quoted cells may have some
_CELL = re.compile(r'(?:"(?:[^"]|"")*"|[^",\r\n][^,\r\n]*|)(?=[,\r\n]|$)')


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run. `texts` and `numbers` have what is stated; `problems` say what is malformed, with line and column.
    `repeats`: the first line that has the very same cells, where that is another."""

    line: int
    texts: Mapping[str, str]
    numbers: Mapping[str, float]
    problems: tuple[str, ...] = ()
    repeats: int | None = None

    @property
    def case(self) -> str:
        """Its name, or its line where it has none."""
        return self.texts.get("case_id") or f"line {self.line}"

    def text(self, column: str) -> str:
        """What a column says, in lower case, dashes and blanks of all kinds as plain ones; empty where it says
        nothing."""
        return self.texts.get(column, "").translate(_PLAIN).lower()

    def number(self, column: str) -> float | None:
        """What a column states."""
        return self.numbers.get(column)

    def whole(self, column: str) -> int | None:
        """The same of a count."""
        found = self.numbers.get(column)
        return None if found is None else int(found)


def read_rows(path: Path) -> list[Row]:
    """All rows of a file. Raises UnusableInput where it can't be read, or isn't such a table."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UnusableInput(f"{path}: {error.strerror or error}") from error
    if raw.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise UnusableInput(f"{path} is UTF-16 text: save it as UTF-8")
    text = raw.decode("utf-8-sig", errors="replace")
    if "\0" in text.partition("\n")[0]:
        raise UnusableInput(f"{path} is no table of text: it has zero bytes")
    lines = StringIO(text, newline="").readlines()
    if not lines:
        raise UnusableInput(f"{path} is empty; its first line names the columns: {', '.join(COLUMNS)}")
    try:
        header, after = _record(lines, 0)
    except csv.Error as error:
        raise UnusableInput(f"{path}: the columns' names can't be read as comma-separated values: {error}") from error
    names = [name.strip().lower() for name in header]
    if len(names) == 1 and (mark := next((mark for mark in ";\t|" if mark in text.partition("\n")[0]), None)):
        raise UnusableInput(f"{path} separates its columns by {mark!r}: save it with commas, and points in numbers")
    _require(path, names)
    return list(_rows(lines, after, names))


def _require(path: Path, names: list[str]) -> None:
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise UnusableInput(
            f"{path} lacks the columns {', '.join(missing)}; its first line has "
            f"{', '.join(filter(None, names[:40])) or 'none'} (docs/evaluate.md has all columns)"
        )
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise UnusableInput(f"{path} names the columns {', '.join(twice)} twice")


def _rows(lines: list[str], at: int, names: list[str]) -> Iterator[Row]:
    seen: dict[tuple[str, ...], int] = {}
    while at < len(lines):
        first = at
        try:
            cells, at = _record(lines, first)
            if at > first + 1 and len(cells) != len(names):
                raise csv.Error("a quote is open to a line that is a row of its own")
        except csv.Error as error:  # this line alone is malformed: a quote nobody closed must not take others with it
            at = first + 1
            problem = f"line {first + 1}, column {_broken(lines[first], names)}: {error}"
            yield Row(line=first + 1, texts={}, numbers={}, problems=(problem,))
            continue
        if any(cell.strip() for cell in cells):
            earlier = seen.setdefault(tuple(cells), first + 1)
            yield replace(_row(first + 1, names, cells), repeats=None if earlier == first + 1 else earlier)


def _record(lines: list[str], at: int) -> tuple[list[str], int]:
    """The cells of the row that begins at a line, counted from 0, and the line after it. Raises csv.Error."""
    reader = csv.reader(lines[at : at + _LONGEST], strict=True)
    return next(reader), at + reader.line_num


def _broken(line: str, names: list[str]) -> str:
    """The column of the first cell that is none."""
    at = number = 0
    while (found := _CELL.match(line, at)) and found.end() < len(line.rstrip("\r\n")):
        at, number = found.end() + 1, number + 1
    return names[number] if number < len(names) else str(number + 1)


def _row(line: int, names: list[str], cells: list[str]) -> Row:
    problems: list[str] = []
    if len(cells) != len(names):
        problems.append(f"line {line} has {len(cells)} cells, and the first line names {len(names)} columns")
    if any("\0" in cell for cell in cells):
        problems.append(f"line {line} has a zero byte")
    stated = {name: cell.strip() for name, cell in zip(names, cells, strict=False) if cell.strip()}
    texts = {name: stated[name] for name in _TEXTS if name in stated}
    numbers: dict[str, float] = {}
    for name in (*_WHOLE, *_REAL):
        if name not in stated or _NOTHING.fullmatch(stated[name]):
            continue
        found = _number(stated[name], whole=name in _WHOLE, most=_LARGEST.get(name, _MOST))
        if found is not None:
            numbers[name] = found
        elif name in _WORDS and _WORDS[name].search(stated[name]):
            texts[name] = stated[name]
        else:
            kind = "a whole number from 1" if name in _WHOLE else f"a number from {_LEAST:g}"
            most = f"{_LARGEST.get(name, _MOST):,.0f}"
            problems.append(f"line {line}, column {name}: {stated[name][:40]!r} is not {kind} to {most}")
    return Row(line=line, texts=texts, numbers=numbers, problems=tuple(problems))


def _number(text: str, *, whole: bool, most: float) -> float | None:
    grouped = _GROUPED.fullmatch(text)
    if grouped and (whole or grouped[2] or not grouped[1] or text.count(",") > 1):
        text = re.sub(r"[^0-9.]", "", text)
    if not _NUMBER.fullmatch(text):
        return None
    found = float(text)
    if not isfinite(found) or not _LEAST <= found <= most or (whole and (found != int(found))):
        return None
    return found

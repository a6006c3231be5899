"""The texts that a job names, looked at from outside: do they stand, are they of a kind that is read, are they enough?

It reads no more than the first bytes of a file; whoever trains reads it whole (`data`). A pattern may lead through
half a disk, so patience ends: what was not looked at by then, the run will meet.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from plait.errors import Problem
from plait.specs.training import DataSpec
from plait.specs.wording import counted, shown

__all__ = ["Look", "look_at_texts"]

_PATIENCE = 0.2  # seconds, for all texts together
_TO_COME = (".jsonl", ".ndjson", ".parquet", ".arrow")
_TOLD = 4  # complaints, of however many
_OPENED = 16  # files of a pattern of which the first bytes are read
_OPENING = 4096  # bytes
_BYTEWISE = ("bytes", "bpe:")  # tokenizers that make no more tokens than there are bytes
_LEGAL = "python-stdlib, or paths and globs of UTF-8 text"


class _OutOfPatienceError(Exception):
    """There is more to look at than can be looked at while a user waits."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was seen of a job's texts. `whole`: everything was looked at."""

    problems: tuple[Problem, ...] = ()
    whole: bool = True


@dataclass(kw_only=True)
class _Tally:
    """What has been found so far; `sized`: so far, `files` are all there are."""

    complaints: list[str] = field(default_factory=list[str])
    files: set[str] = field(default_factory=set[str])
    sized: bool = True
    until: float = 0.0

    def hurry(self) -> None:
        if monotonic() > self.until:
            raise _OutOfPatienceError


def look_at_texts(data: DataSpec, sequence_length: int | None, patience: float = _PATIENCE) -> Look:
    """What keeps the texts of a job from being read, or from giving one sequence (None: of a length not known yet)."""
    tally, whole = _Tally(until=monotonic() + patience), True
    texts = (data.text,) if isinstance(data.text, str) else data.text
    try:
        for text in dict.fromkeys(texts):
            tally.hurry()
            if complaint := _complaint(text, tally):
                tally.complaints.append(complaint)
    except _OutOfPatienceError:
        whole = False
    if not tally.complaints and whole and sequence_length is not None:
        tally.complaints += _too_short(data, tally, sequence_length)
    if not tally.complaints:
        return Look(whole=whole)
    more = len(tally.complaints) - _TOLD
    told = "; ".join([*tally.complaints[:_TOLD], *([f"and {more} more like these"] if more > 0 else [])])
    return Look(problems=(Problem(key="data.text", message=told, legal=_LEGAL),), whole=whole)


def _complaint(text: str, tally: _Tally) -> str:
    if text == "python-stdlib":
        tally.sized = False
        return ""
    try:
        return _absence(text, Path(text).expanduser(), tally)
    except (OSError, RuntimeError, ValueError) as error:  # too long a name, a closed folder, no home, a zero byte
        reason = error.strerror if isinstance(error, OSError) else None
        return f"{shown(text)}: {reason or error}"


def _absence(text: str, path: Path, tally: _Tally) -> str:
    if path.suffix.lower() in _TO_COME:
        return f"{shown(text)}: {path.suffix} files are not built yet"
    if path.is_dir():
        return f'{shown(text)} is a directory, which is not built yet; name its files, as "{text}/**/*.txt"'
    if path.exists() and not path.is_file():
        return f"{shown(text)} is no regular file"  # a pipe may never end
    if path.exists():
        tally.files.add(str(path))
        return _unreadable(path)
    if not glob.has_magic(text):
        return f"no file is at {shown(text)}, from {Path.cwd()}"
    return _unmatched(text, path, tally)


def _unmatched(text: str, path: Path, tally: _Tally) -> str:
    found = False
    start = path.anchor if path.is_absolute() else ""
    for match in _matches(start, path.parts[bool(start) :], tally):
        if Path(match).is_file():
            found = True
            tally.files.add(match)
            if len(tally.files) <= _OPENED and (complaint := _unreadable(Path(match))):
                return complaint
    return "" if found else f"no file matches {shown(text)}, from {Path.cwd()}"


def _matches(folder: str, parts: tuple[str, ...], tally: _Tally) -> Iterator[str]:
    """As `glob.glob(..., recursive=True)`, a folder at a time."""
    tally.hurry()
    if not parts:
        yield folder
        return
    first, rest = parts[0], parts[1:]
    if first == "**":
        yield from _matches(folder, rest or ("*",), tally)
        for below in glob.iglob(os.path.join(glob.escape(folder), "*", "")):
            yield from _matches(below, parts, tally)
    else:
        for match in glob.iglob(os.path.join(glob.escape(folder), first)):
            yield from _matches(match, rest, tally)


def _unreadable(path: Path) -> str:
    with path.open("rb") as file:
        opening = file.read(_OPENING)
    try:
        opening.decode()
    except UnicodeDecodeError as error:
        if error.start < len(opening) - 3:  # the cut may go through a character of four bytes
            return f"{shown(str(path))} is not UTF-8 text at byte {error.start}"
    return ""


def _too_short(data: DataSpec, tally: _Tally, sequence_length: int) -> Iterator[str]:
    """What is certain of a text whose tokens are not counted yet: bytes that can't make one sequence of each part."""
    if not (tally.sized and data.tokenizer.startswith(_BYTEWISE)):
        return
    size = sum(os.path.getsize(file) for file in tally.files)
    held_out = size - round(size * (1 - data.validation_fraction))  # or less, as lines stay whole
    if held_out <= sequence_length:
        yield (
            f"of its {counted(size, 'byte')}, validation_fraction = {data.validation_fraction} holds out {held_out}: "
            f"not enough for one sequence_length = {sequence_length}, which needs {sequence_length + 1} tokens"
        )

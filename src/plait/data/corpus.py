"""Text as a list of documents, and its division into a training and a validation part.

It knows files and bytes, and no tokens. Whatever it can't use it names, with the remedy, before anything starts.

                             documents, in a keyed order
    |--- a ---|------ c ------|- e -|-------- b --------|-- d --|
    |<------------------ training ----------------->|<-- val -->|     one cut, at the end of a line: nothing overlaps
"""

from __future__ import annotations

import glob
import os
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plait.errors import UnusableInput
from plait.random.order import permuted
from plait.random.words import stream_key

__all__ = ["Document", "read_text", "split"]

_NOT_SOURCE = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


@dataclass(frozen=True, kw_only=True)
class Document:
    """One text: the path it came from, and its bytes, which are valid UTF-8."""

    name: str
    content: bytes


def read_text(text: str | Sequence[str]) -> list[Document]:
    """Read "python-stdlib" (the sources of Python's standard library), a path, a glob, or a list of these.

    Each file becomes one document, once, in the order of the list and sorted within a glob; empty files are left out.
    Raises UnusableInput for a path that is missing, unreadable, a directory or not UTF-8, for a glob that matches
    nothing, and if there is no text at all.
    """
    documents: dict[str, Document] = {}
    for item in [text] if isinstance(text, str) else text:
        for document in _standard_library() if item == "python-stdlib" else map(_read, _paths(item)):
            if document.content:
                documents.setdefault(document.name, document)
    if not documents:
        raise UnusableInput(f"the text {text!r} is empty: name at least one file that has text in it")
    return list(documents.values())


def split(documents: Sequence[Document], fraction: float) -> tuple[list[Document], list[Document]]:
    """The training and the validation part: the last `fraction` of the bytes of the documents, in a keyed order.

    The order depends on nothing but the number of documents, so that every run over a text is judged on the same part.
    One document at most is divided, after a line (or, in a text without lines, after a character).
    """
    remaining = round(sum(len(document.content) for document in documents) * (1 - fraction))
    order = permuted(np.arange(len(documents)), len(documents), stream_key(0, "data.split"))
    training: list[Document] = []
    validation: list[Document] = []
    for document in (documents[index] for index in order):
        cut = _line_end(document.content, remaining) if remaining > 0 else 0
        remaining -= len(document.content)
        for part, content in ((training, document.content[:cut]), (validation, document.content[cut:])):
            if content:
                part.append(Document(name=document.name, content=content))
    return training, validation


def _line_end(content: bytes, size: int) -> int:
    """The first place at or after `size` where a line of `content` ends; else a character; at most its length."""
    if size >= len(content):
        return len(content)
    line = content.find(b"\n", size - 1) + 1
    if line:
        return line
    while size < len(content) and content[size] & 0xC0 == 0x80:  # within a UTF-8 character
        size += 1
    return size


def _paths(item: str) -> list[Path]:
    path = Path(item).expanduser()
    if path.is_dir():
        raise UnusableInput(f'{path} is a directory: name its files by a glob, as "{path}/**/*.txt"')
    if path.exists():
        return [path]
    if not glob.has_magic(item):
        raise UnusableInput(f"{path} does not exist (from {Path.cwd()}): correct the path, or use a glob")
    found = [Path(match) for match in sorted(glob.glob(str(path), recursive=True)) if Path(match).is_file()]
    if not found:
        raise UnusableInput(
            f"the glob {item!r} matches no file (from {Path.cwd()}): ** stands for folders of any depth"
        )
    return found


def _read(path: Path) -> Document:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnusableInput(f"{path} can't be read ({error.strerror}): allow it to be read, or leave it out") from error
    end = _utf8_end(content)
    if end < len(content):
        raise UnusableInput(f"{path} is not UTF-8 text at byte {end}: convert it (iconv -t UTF-8), or leave it out")
    return Document(name=str(path), content=content)


def _utf8_end(content: bytes) -> int:
    """How many of the bytes, from the first on, are valid UTF-8."""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return error.start
    return len(content)


def _standard_library() -> Iterator[Document]:
    """Python's own *.py files, without tests and installed packages, and without any that is not UTF-8."""
    root = Path(sysconfig.get_path("stdlib"))
    paths: list[Path] = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(set(folders) - _NOT_SOURCE)
        paths += [Path(folder, file) for file in sorted(files) if file.endswith(".py")]
    if not paths:
        raise UnusableInput(f"this Python keeps no sources in {root}: name files of text instead of python-stdlib")
    for path in paths:
        content = path.read_bytes()
        if _utf8_end(content) == len(content):
            yield Document(name=str(path), content=content)

"""The files that a job names, looked at from outside: do they stand, are they of a kind that is read, how many tokens.

It opens no text; whoever trains reads it (`data`). What it says before, it says without torch.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from plait.errors import Problem
from plait.specs.training import DataSpec
from plait.specs.wording import shown

__all__ = ["text_problems", "tokenizer_problem", "vocabulary"]

_TO_COME = (".jsonl", ".ndjson", ".parquet", ".arrow")
# what a file that a stranger wrote may raise: JSON nested too deeply and a user without a home are RuntimeErrors
_NO_TOKENIZER = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)
_MOST_TOKENS = 2**32  # as many as a token's four bytes can tell apart
_TOKENIZERS = "bytes, bpe:N (N from 256), or a tokenizer.json that exists"


def text_problems(data: DataSpec) -> list[Problem]:
    """What keeps the texts of a job from being read: kinds that are not built yet, paths and globs without a file."""
    texts = (data.text,) if isinstance(data.text, str) else data.text
    complaints = [complaint for text in texts if text != "python-stdlib" and (complaint := _complaint(text))]
    legal = "python-stdlib, or paths and globs of UTF-8 text"
    return [Problem(key="data.text", message="; ".join(complaints), legal=legal)] if complaints else []


def _complaint(text: str) -> str:
    try:
        return _absence(text, Path(text).expanduser())
    except (OSError, RuntimeError) as error:  # a name too long, a folder that is closed, a user without a home
        return f"{shown(text)}: {error}"


def _absence(text: str, path: Path) -> str:
    if path.suffix in _TO_COME:
        return f"{shown(text)}: {path.suffix} files are not built yet"
    if path.is_dir():
        return f'{shown(text)} is a directory, which is not built yet; name its files, as "{text}/**/*.txt"'
    if path.exists() and not path.is_file():
        return f"{shown(text)} is no regular file"  # a pipe may never end
    if path.exists() or (glob.has_magic(text) and any(glob.iglob(str(path), recursive=True))):
        return ""
    return f"no file {'matches' if glob.has_magic(text) else 'is at'} {shown(text)}, from {Path.cwd()}"


def tokenizer_problem(tokenizer: str) -> Problem | None:
    """What is wrong with a tokenizer's name, or with the file it names."""
    message = ""
    if tokenizer.startswith("bpe:"):
        counts = re.fullmatch(r"bpe:[0-9]{1,9}", tokenizer) and vocabulary(tokenizer) >= 256
        message = "" if counts else f"{shown(tokenizer)}: N of bpe:N counts tokens, at least the 256 bytes"
    else:
        try:
            vocabulary(tokenizer)
        except _NO_TOKENIZER as error:
            message = f"{shown(tokenizer)} is neither a known tokenizer nor a tokenizer file: {error}"
    return Problem(key="data.tokenizer", message=message, legal=_TOKENIZERS) if message else None


def vocabulary(tokenizer: str) -> int:
    """How many tokens a tokenizer has; raises what reading its file raises."""
    if tokenizer == "bytes":
        return 256
    if tokenizer.startswith("bpe:"):
        return int(tokenizer.removeprefix("bpe:"))
    path = Path(tokenizer).expanduser()
    if path.exists() and not path.is_file():
        raise ValueError("it is no regular file")  # a pipe may never end
    return _tokens_in(json.loads(path.read_text(encoding="utf-8")))


def _tokens_in(description: Mapping[str, Any]) -> int:
    """The tokens of a tokenizer file: ours for bytes, or one of the `tokenizers` library."""
    if description.get("tokenizer") == "bytes":
        return 256
    words = cast("Mapping[str, int] | list[Any]", description["model"]["vocab"])  # Unigram lists, the others count
    last = len(words) - 1 if isinstance(words, list) else max(words.values(), default=-1)
    added = [token["id"] for token in description.get("added_tokens", ())]
    count = max([last, *added]) + 1
    if not (isinstance(count, int) and 1 <= count <= _MOST_TOKENS):
        raise ValueError(f"it would have {count} tokens")
    return count

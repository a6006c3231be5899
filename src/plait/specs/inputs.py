"""The tokenizer that a job names, looked at from outside: is it one, and how many tokens does it have?

It tokenizes nothing; whoever trains does (`data`). What it says before, it says without torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from plait.errors import Problem
from plait.specs.wording import cut, shown

__all__ = ["tokenizer_problem", "vocabulary"]

# what a file that a stranger wrote may raise: JSON nested too deeply and a user without a home are RuntimeErrors
_NO_TOKENIZER = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)
_LARGEST_FILE = 2**27  # bytes; the largest that are published have a quarter of it
_MOST_TOKENS = 2**32  # as many as a token's four bytes can tell apart
_TOKENIZERS = "bytes, bpe:N (N from 256), or a tokenizer.json that exists"


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
            reason = (error.strerror if isinstance(error, OSError) else None) or cut(str(error))
            message = f"{shown(tokenizer)} is neither a known tokenizer nor a tokenizer file: {reason}"
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
    seen = path.stat()
    if seen.st_size > _LARGEST_FILE:
        raise ValueError(f"its {seen.st_size} bytes are more than a tokenizer has")
    return _tokens_of(path, seen.st_mtime_ns)


@lru_cache(maxsize=8)
def _tokens_of(path: Path, written: int) -> int:
    """The tokens of a file that was `written` at that time; large ones take a while, and are asked for often."""
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

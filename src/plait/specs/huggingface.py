"""The `config.json` of a Hugging Face checkpoint, read as a shape: no torch, no transformers, no network.

    {"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, …}  ──>  keys of a ModelSpec

    a kind that is known         its own reading: `config_decoders`, `_llamas`, `_experts`, `_encoders`
    a decoder of another kind    by its fields, as the nearest that is known: `config_guess`
    with images or sounds        its `text_config`
    anything else                refused, in words

What a field says beyond a shape's words is refused by name where nothing near it has words, noted where a plan can do
without, so that a user is told and no run takes it for the same model, and left alone where it changes neither weights
nor costs (scaled positions).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from plait.errors import Problem
from plait.specs.config_decoders import DECODERS
from plait.specs.config_encoders import ENCODERS
from plait.specs.config_experts import MIXTURES
from plait.specs.config_fields import Config, Unreadable
from plait.specs.config_guess import guessed, lacking
from plait.specs.config_llamas import LLAMAS
from plait.specs.config_parts import Shape
from plait.specs.wording import cut, kind_of, nearest, shown

__all__ = ["KINDS", "Reading", "reading_of"]

_KEY = "model.huggingface"
_LARGEST_FILE = 2**24  # bytes: a configuration has some thousands
_TEXT = ("text_config", "llm_config", "language_config")
_SENSES = re.compile("vision|visual|audio|speech|image|video")

KINDS: Mapping[str, Callable[[Config], Shape]] = {**DECODERS, **LLAMAS, **MIXTURES, **ENCODERS}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """`shape`: keys of a ModelSpec. `notes`: what of the configuration they don't say, each in a few words."""

    shape: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def reading_of(place: str) -> Reading | Problem:
    """What the configuration in a directory (its config.json) or a file says; what is wrong with it otherwise."""
    path = Path(place)
    try:
        path = path.expanduser()
        path = path / "config.json" if path.is_dir() else path
        return _reading(_fields_in(path))
    except Unreadable as error:
        reason = str(error)
    except (OSError, ValueError, RuntimeError) as error:  # too deep a file and a user without a home are RuntimeErrors
        reason = (error.strerror if isinstance(error, OSError) else None) or cut(str(error))
    return Problem(key=_KEY, message=f"{path}: {reason}", legal="a directory with a config.json, or such a file")


def _fields_in(path: Path) -> dict[str, Any]:
    if path.exists() and not path.is_file():
        raise Unreadable("it is no regular file")  # a pipe may never end
    if path.stat().st_size > _LARGEST_FILE:
        raise Unreadable("it is larger than a configuration can be")
    fields = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(fields, dict):
        raise Unreadable(f"it holds {kind_of(fields)} in place of a table")
    return cast("dict[str, Any]", fields)


def _reading(fields: Mapping[str, Any]) -> Reading:
    tables = [name for name, value in fields.items() if isinstance(value, dict)]
    beside = tuple(f"{name} (not counted)" for name in tables if _SENSES.match(name))
    inner = next((name for name in _TEXT if name in tables), None)
    if inner is not None:
        above = {name: fields[name] for name in ("model_type", "tie_word_embeddings") if name in fields}
        text = _reading({**above, **fields[inner]})
        return Reading(shape=text.shape, notes=(*beside, *text.notes))
    config = Config(fields)
    shape = _reader(fields)(config)
    whole = {**shape, "kv_heads": shape.get("kv_heads", shape["heads"]), "ffn": shape.get("ffn", 4 * shape["hidden"])}
    return Reading(shape=whole, notes=(*beside, *config.notes))


def _reader(fields: Mapping[str, Any]) -> Callable[[Config], Shape]:
    """Who reads such a configuration. Raises Unreadable where nobody can."""
    kind = fields.get("model_type")
    if isinstance(kind, str) and kind in KINDS:
        return KINDS[kind]
    if kind is not None and not isinstance(kind, str):
        raise Unreadable(f"model_type = {shown(kind)} is {kind_of(kind)} in place of a name")
    missing = lacking(fields)
    if not missing:
        return guessed
    said = f"= {shown(kind)} is not known here; the nearest is {nearest(kind, KINDS)[0]}" if kind else "is missing"
    guess = f"to be read as the nearest decoder it lacks {', '.join(missing)}"
    raise Unreadable(f"model_type {said}; known are {', '.join(KINDS)}; {guess}")

"""How gradients are made smaller on their way between data ranks: the word `[plan] compression`, read and judged.

    none             as they are
    fp16, bf16       rounded to 2 bytes an element
    int8             rounded to 1 byte an element, with a scale for each block
    powersgd:RANK    each matrix as the product of two thin ones of RANK columns
    topk:FRACTION    the largest FRACTION of the elements of a bucket, with their places

It knows the word alone. What travels in each form stands in `plans.compression`, how it is done in
`collectives.compression`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from plait.errors import IllegalJob, Problem
from plait.specs.wording import nearest, shown

__all__ = ["EXAMPLES", "FORMS", "Compression", "CompressionKind", "compression_of", "compression_problem"]

CompressionKind = Literal["none", "fp16", "bf16", "int8", "powersgd", "topk"]

FORMS = ("none", "fp16", "bf16", "int8", "powersgd:RANK (1 or more)", "topk:FRACTION (above 0, at most 1)")
EXAMPLES = ("none", "fp16", "bf16", "int8", "powersgd:4", "topk:0.01")  # a value of each form
_PLAIN: tuple[CompressionKind, ...] = ("none", "fp16", "bf16", "int8")
_RANK = re.compile(r"powersgd:([0-9]{1,9})")
_FRACTION = re.compile(r"topk:((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?)")


@dataclass(frozen=True, kw_only=True)
class Compression:
    """One form: `rank` is powersgd's, `fraction` topk's; 0 in all others."""

    kind: CompressionKind
    rank: int = 0
    fraction: float = 0.0

    def __str__(self) -> str:
        match self.kind:
            case "powersgd":
                return f"powersgd:{self.rank}"
            case "topk":
                return f"topk:{self.fraction!r}"
            case _:
                return self.kind


def compression_of(word: str) -> Compression:
    """The form that a word names; raises IllegalJob, with the legal forms, for any other."""
    problem = compression_problem(word)
    if problem is not None:
        raise IllegalJob([problem])
    if found := _RANK.fullmatch(word):
        return Compression(kind="powersgd", rank=int(found[1]))
    if found := _FRACTION.fullmatch(word):
        return Compression(kind="topk", fraction=float(found[1]))
    return Compression(kind=next(kind for kind in _PLAIN if kind == word))


def compression_problem(word: object) -> Problem | None:
    """What is wrong with the value of `[plan] compression`, and all forms of it; None where nothing is."""
    message = _complaint(word)
    if not message:
        return None
    return Problem(key="plan.compression", message=f"{message}. Its forms: {', '.join(FORMS)}", legal=EXAMPLES)


def _complaint(word: object) -> str:
    if word in _PLAIN:
        return ""
    if not isinstance(word, str):
        return f"compression = {shown(word)} is not a text"
    if found := _RANK.fullmatch(word):
        return "" if int(found[1]) else f"compression = {shown(word)}: a matrix of rank 0 is nothing"
    if found := _FRACTION.fullmatch(word):
        legal = 0 < float(found[1]) <= 1
        return "" if legal else f"compression = {shown(word)}: {found[1]} is not a fraction above 0 and at most 1"
    kind = word.partition(":")[0]
    if kind in ("powersgd", "topk"):
        wanted = "a whole number after a colon" if kind == "powersgd" else "a number after a colon"
        return f"compression = {shown(word)}: {kind} takes {wanted}"
    if kind in _PLAIN:
        return f"compression = {shown(word)}: {kind} stands alone"
    return f"compression = {shown(word)} is not one of its values; the nearest is {nearest(kind, _KINDS)[0]}"


_KINDS = (*_PLAIN, "powersgd", "topk")

"""What a verdict of verify means to a reader: an answer, and one sentence with its numbers.

It reads the document of `plait verify`; how a verdict is arrived at is verification's knowledge.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from plait.report.data import Verdict

__all__ = ["is_same_model", "verdict_from_document"]

_MEANINGS = {
    "EXACT": "Bit for bit the same",
    "REASSOCIATION": "The same, up to the order of sums",
    "ZERO": "The same, up to noise where the mathematics gives zero",
    "PINNED": "The same, as far as modules that compute in float32 only let it be seen",
    "TIE": "The same, but for choices that were a tie",
    "LOSSY": "Not the same by design: a choice of the plan changes the mathematics",
    "NONDETERMINISTIC": "Not to be judged: two equal runs differ",
    "NONFINITE": "Not to be judged: a value is not finite",
    "BUG": "Not the same model",
}
_SAME = frozenset({"EXACT", "REASSOCIATION", "ZERO", "PINNED", "TIE"})


def is_same_model(verdict: Verdict) -> bool:
    """Whether the verdict says that the parallel run is the same model as one device."""
    return verdict.verdict in _SAME


def verdict_from_document(document: Mapping[str, Any]) -> Verdict:
    """The verdict with its sentence; raises KeyError where the document lacks one of the contract's keys."""
    tensors = document["tensors"]
    errors = [float(one["error_eps"]) for one in tensors if one["error_eps"] is not None]
    finite = [error for error in errors if isfinite(error)]
    verdict = str(document["verdict"])
    sentence = _MEANINGS.get(verdict, "An unknown verdict") + f": {len(tensors):,} tensors compared"
    if finite:
        sentence += f", the largest error {max(finite):.3g} eps"
    more = _culprit(document.get("culprit")) + _narrowed(document.get("narrowed"))
    return Verdict(verdict=verdict, sentence=f"{sentence}.{more}")


def _culprit(culprit: Mapping[str, Any] | None) -> str:
    if not culprit:
        return ""
    places = [f"{what} {culprit[what]}" for what in ("layer", "axis") if culprit.get(what) is not None]
    return f" The first that departs is {culprit['tensor']}" + (f" ({', '.join(places)})." if places else ".")


def _narrowed(narrowed: Mapping[str, Any] | None) -> str:
    """What of the job was made smaller, so that the proof fits this machine."""
    if not narrowed:
        return ""
    changes = [
        f"{key.rpartition('.')[2]} {_short(of['job'])} to {_short(of['verified'])}" for key, of in narrowed.items()
    ]
    return f" The job was narrowed for the proof: {', '.join(changes)}."


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)

"""How large a job's model is, as every command says it: 46.7 billion parameters, 12.88 billion of them active."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plait.layers.parameters import Parameters

__all__ = ["model_size"]


def model_size(found: Parameters) -> str:
    """All weights of the model; where a token does not meet all of them, also those that it meets."""
    from plait.report.figures import count

    told = f"{count(found.total)} parameters"
    return told if found.active == found.total else f"{told}, {count(found.active)} of them active"

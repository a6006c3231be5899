"""What ranks tell of portions, put together to what is told of steps: one event a step, in order.

    rank 0   portion of 1   portion of 2   portion of 3 …
    rank 1   portion of 1                  portion of 2 …
    told     step 1 when both of its have come, step 2 when both of its have; a validation after the step it follows

A step's loss is the sum of its portions' parts, its norm the mean of their estimates. Its seconds are their mean, too:
as many workers as there are portions in a step are always at one, so that steps follow each other at that pace.
What ranks tell of steps passes as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

__all__ = ["StepsOfPortions"]

_Event = Mapping[str, Any]


class StepsOfPortions:
    """Takes the events of all ranks of a run, in any order between them."""

    def __init__(self) -> None:
        self._told = 0  # the last step that has been
        self._awaits = False  # its validation
        self._portions: dict[int, list[_Event]] = {}
        self._validations: dict[int, _Event] = {}

    def take(self, event: _Event) -> Iterator[_Event]:
        """What can be told now."""
        step = event["step"]
        if event["event"] == "step":
            self._told = step
            yield event
        elif event["event"] == "portion":
            self._portions.setdefault(step, []).append(event)
        else:
            self._validations[step] = event
        yield from self._due()

    def _due(self) -> Iterator[_Event]:
        while True:
            if self._told in self._validations:
                self._awaits = False
                yield self._validations.pop(self._told)
            portions = self._portions.get(self._told + 1, [])
            if self._awaits or not portions or len(portions) < portions[0]["portions"]:
                return
            self._told += 1
            self._awaits = portions[0]["validation_follows"]
            yield _step(self._portions.pop(self._told))


def _step(portions: list[_Event]) -> _Event:
    norms = [one["norm"] for one in portions if one["norm"] is not None]
    return {
        **{key: portions[0][key] for key in ("step", "tokens", "validation_follows")},
        "event": "step",
        "loss": sum(one["loss"] for one in portions),
        "norm": fmean(norms) if norms else None,
        "seconds": fmean(one["seconds"] for one in portions),
    }

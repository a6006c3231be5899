"""Where a rank stands while a defect is planted: the step, the layer that is in forward, the model at work.

    train_step ─► forward_backward(rows of step 1)          step 1, until the next call
                     └─► layer "block 0" ─► "block 1"       layer, while its forward runs

It stands around two calls of the runtime and changes nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from plait.models.gpt import Decoder
from plait.models.sequences import Sequences
from plait.parallel.model import ParallelModel

__all__ = ["Here"]


class Here:
    """`step` counts from 1 and is 0 before the first; `layer` is None outside of forward; `model` is the rank's own.
    `wanted`: the layer in which a defect is to be planted; a step of a model without it raises ValueError."""

    def __init__(self, wanted: str | None = None) -> None:
        self._wanted = wanted
        self.step = 0
        self.layer: str | None = None
        self.model: ParallelModel | None = None

    def note_step(
        self, forward_backward: Callable[..., Any], model: ParallelModel, rows: Sequences, *rest: Any, **named: Any
    ) -> Any:
        """Around `ParallelModel.forward_backward`."""
        self.step, self.model = rows.step + 1, model
        names = [layer.name for layer in model.layers]
        if self._wanted not in (None, *names):
            raise ValueError(
                f"a defect in {self._wanted!r}, and there is no such layer; legal here: {', '.join(names)}"
            )
        return forward_backward(model, rows, *rest, **named)

    def note_layers(self, layers: Callable[..., Any], decoder: Decoder) -> list[tuple[str, Any]]:
        """Around `Decoder.layers`: each layer that it lists tells when it is in forward."""
        return [(name, partial(self._call, name, layer)) for name, layer in layers(decoder)]

    def weights(self, layer: str | None = None) -> list[str]:
        """The names of this rank's weights that belong to a layer, in forward order; without one, of all."""
        assert self.model is not None, "nothing has run yet"
        described = [one for one in self.model.layers if layer in (None, one.name)]
        named = dict.fromkeys(weight.name for one in described for weight in one.weights)
        return [name for name in named if name in self.model.held]

    def _call(self, name: str, layer: Callable[..., Any], *args: Any) -> Any:
        before, self.layer = self.layer, name
        try:
            return layer(*args)
        finally:
            self.layer = before

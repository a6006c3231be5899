"""What every layer gives, and the gradient that comes back to it, noted while the decoder's own forward runs.

    layers()  ──►  block 3(hidden, sequences)  ──►  hidden          noted under "block 3"
                                  gradient of hidden  ◄──           noted under "block 3/gradient"

It stands around the calls that the decoder makes, on one device or on a rank alike, and changes no value. What only the
last layer gives, the loss, is no value of the residual stream and is left to the caller.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from operator import itemgetter

import torch
from torch import Tensor

from plait.models.gpt import Decoder, LayerCall
from plait.models.sequences import Sequences

__all__ = ["Watch"]


class Watch:
    """Notes the values of all microbatches of a step, until they are taken. `around` is entered for each forward of a
    layer, `layer` is the one that is in forward now, `flops` are those of all forwards so far by layer, as far as
    `performed()` counts them."""

    def __init__(self, decoder: Decoder, performed: Callable[[], int] = lambda: 0) -> None:
        self.around: AbstractContextManager[object] = nullcontext()
        self.layer: str | None = None
        self.sample = 0  # the first of the microbatch that it is in forward with
        self.flops: Counter[str] = Counter()
        self._performed = performed
        self._layers = decoder.layers
        self._seen: dict[str, list[tuple[int, Tensor]]] = defaultdict(list)  # each microbatch: first sample, rows
        decoder.layers = self._watched  # its forward asks for its layers, and gets them watched

    def take(self) -> dict[str, Tensor]:
        """Everything noted since the last time: for each name the rows of all samples, by their numbers."""
        by_sample = {name: sorted(pieces, key=itemgetter(0)) for name, pieces in self._seen.items()}
        self._seen.clear()
        return {name: torch.cat([rows for _, rows in pieces]) for name, pieces in by_sample.items()}

    def _watched(self) -> list[tuple[str, LayerCall]]:
        return [(name, partial(self._call, name, layer)) for name, layer in self._layers()]

    def _call(self, name: str, layer: LayerCall, hidden: Tensor | None, sequences: Sequences) -> Tensor:
        first = int(sequences.samples[0])
        before, self.layer, self.sample = self._performed(), name, first
        with self.around:
            value = layer(hidden, sequences)
        self.flops[name] += self._performed() - before
        self.layer = None
        if value.dim() == 3:  # (batch, sequence or its share, hidden)
            self._seen[name].append((first, value.detach().clone()))
            if value.requires_grad:
                value.register_hook(partial(self._note_gradient, name, first))
        return value

    def _note_gradient(self, name: str, first: int, gradient: Tensor) -> None:
        self._seen[f"{name}/gradient"].append((first, gradient.clone()))

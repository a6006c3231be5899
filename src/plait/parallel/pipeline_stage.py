"""The stages of a rank in a pipeline: the layers that it keeps of a model, and the shape of what reaches them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

import torch

from plait.collectives.process_groups import Group
from plait.layers.layer import Layer
from plait.models.gpt import Decoder
from plait.models.sequences import Sequences
from plait.sharding.boxes import shares

__all__ = ["DecoderStage", "Extent", "cut_stage"]


@dataclass
class Extent:
    """The length of the sequences that are in forward now: a share alone can't tell how long the whole is."""

    length: int = 0


class DecoderStage:
    """Those of a rank's layers that are one stage, as the pipeline executor calls them: `layers` names them; several
    stages share a decoder. `tensor` is given where the sequence is split over it."""

    def __init__(self, decoder: Decoder, layers: Collection[str], extent: Extent, tensor: Group | None) -> None:
        self.decoder = decoder
        self._names = frozenset(layers)
        self._extent = extent
        self._tensor = tensor
        self._like = next(iter(decoder.parameters()))

    def forward(self, hidden: torch.Tensor | None, inputs: Sequences) -> torch.Tensor:
        """(batch, sequence or its share, hidden) to the same, or on the last stage to the sum of losses."""
        self._extent.length = inputs.positions.shape[-1]
        for name, layer in self.decoder.layers():
            if name in self._names:
                hidden = layer(hidden, inputs)
        return cast(torch.Tensor, hidden)

    def hidden_like(self, inputs: Sequences) -> torch.Tensor:
        """An empty (batch, sequence or its share, hidden)."""
        length = inputs.positions.shape[-1]
        if self._tensor is not None:
            start, stop = shares(length, (1,) * self._tensor.size)[self._tensor.index]
            length = stop - start
        shape = (len(inputs.samples), length, self.decoder.spec.hidden)
        return torch.empty(shape, dtype=self._like.dtype, device=self._like.device)

    def train(self, learning: bool) -> None:
        """Dropout on or off."""
        if self.decoder.training is not learning:  # it visits every module: not for nothing in every step
            self.decoder.train(learning)


def cut_stage(decoder: Decoder, layers: Sequence[Layer]) -> None:
    """Keep `layers` alone, in place."""
    decoder.keep([layer.name for layer in layers])

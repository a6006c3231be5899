"""The same model with its hidden features, heads, ffn features and tokens numbered otherwise: every sum over them is
then taken in another order, as a tensor-parallel split takes it, and nothing else changes.

    weight (ffn 3, hidden 2)      rows and columns change places, each index by one permutation for the whole model
    tokens, targets               renamed with the vocabulary
    dropout                       each value keeps the mask of its old number

Within a head the features stay (rotary pairs), and query heads move with the key/value head that they read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor

from plait.layers.dims import hidden
from plait.layers.layer import Dim, Index, Layer, Part
from plait.models.dropout import Dropout
from plait.models.gpt import Decoder
from plait.models.loss import IGNORED
from plait.models.sequences import Sequences
from plait.random.words import stream_key, words
from plait.specs.model import ModelSpec

__all__ = ["Numbering"]


class Numbering:
    """A renumbering of every index of a model, drawn by address from `seed`; `layers` describe its weights. Maps are
    from new numbers to old ones."""

    def __init__(self, model: ModelSpec, layers: Sequence[Layer], seed: int) -> None:
        kv_heads, readers = _drawn(seed, "kv_heads", model.kv_heads), model.queries_per_kv_head
        within = _drawn(seed, "readers", readers)
        self._old: Mapping[Index, Tensor] = {
            "hidden": _drawn(seed, "hidden", model.hidden),
            "kv_heads": kv_heads,
            "heads": (kv_heads[:, None] * readers + within).reshape(-1),
            "ffn": _drawn(seed, "ffn", model.ffn),
            "vocab": _drawn(seed, "vocab", model.vocab),
            "positions": torch.arange(model.max_positions),
        }
        self._dims = {weight.name: weight.dims for layer in layers for weight in layer.weights}
        self._residual = (hidden(model),)

    @torch.no_grad()
    def renumber(self, decoder: Decoder) -> None:
        """Move the weights of a decoder, and have its dropout go by the old numbers, in place."""
        for name, weight in decoder.named_parameters():
            for dim, parts in enumerate(self._dims[name]):
                weight.copy_(weight.index_select(dim, self._places(parts)))
        for module in decoder.modules():
            if isinstance(module, Dropout):
                module.at = partial(self._drop, module)

    def tokens(self, sequences: Sequences) -> Sequences:
        """The same text in the new numbers."""
        new = torch.argsort(self._old["vocab"])
        tokens, targets = cast(Tensor, sequences.tokens), cast(Tensor, sequences.targets)
        renamed = torch.where(targets == IGNORED, IGNORED, new[targets.clamp(min=0)])
        return replace(sequences, tokens=new[tokens], targets=renamed)

    def undo(self, owner: str, tensor: Tensor) -> Tensor:
        """A tensor of weight `owner`, or the value of a layer, back in the old numbers."""
        dims = self._dims.get(owner, self._residual)
        if tensor.dim() == 0:
            return tensor
        for dim, parts in enumerate(reversed(dims), start=1):
            tensor = tensor.index_select(-dim, torch.argsort(self._places(parts)))
        return tensor

    def _places(self, dim: Dim) -> Tensor:
        """Old element for each new one along a dim."""
        offsets = np.cumsum([0, *(part.size for part in dim.parts)])
        return torch.cat([self._within(part) + int(offset) for part, offset in zip(dim.parts, offsets, strict=False)])

    def _within(self, part: Part) -> Tensor:
        return (self._old[part.index][:, None] * part.width + torch.arange(part.width)).reshape(-1)

    def _drop(self, module: Dropout, positions: Tensor, x: Tensor, sequences: Sequences) -> Tensor:
        """Dropout's own draw, at the old positions of the values `x`."""
        if x.dim() == 3:  # residual stream: (…) · hidden + feature
            unit, old = 1, self._old["hidden"]
        else:  # probabilities: ((…) · heads + head) · span² + …
            unit, old = module.span**2, self._old["heads"]
        place = positions // unit % len(old)
        return Dropout.at(module, positions + (old[place] - place) * unit, x, sequences)


def _drawn(seed: int, name: str, size: int) -> Tensor:
    """A permutation of `size` numbers."""
    return torch.from_numpy(np.argsort(words(stream_key(seed, f"verify {name}"), np.arange(size, dtype=np.uint64))))

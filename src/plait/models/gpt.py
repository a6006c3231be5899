"""The decoder family, GPT-2 to Llama, by its `ModelSpec`: embedding, blocks, head.

    tokens ─► embed ─► block 0 ─► … ─► block n-1 ─► head ─► loss (a sum), or logits where there are no targets

Modules are named as in the published checkpoints of the family (`layers.gpt.names_of`): weights come and go under one
name. It is a list of layers: whoever keeps only some of them (`keep`) has a stage of a pipeline, and calls it alike. It
knows one device, and nothing of what is put into its slots.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import cast

from torch import Tensor, nn

from plait.layers.gpt import names_of
from plait.models.block import Block
from plait.models.dropout import Dropout
from plait.models.embedding import Embedding
from plait.models.head import Head
from plait.models.norm import norm_of
from plait.models.sequences import Sequences
from plait.specs.model import ModelSpec

__all__ = ["Decoder", "LayerCall"]

LayerCall = Callable[[Tensor | None, Sequences], Tensor]


class Decoder(nn.Module):
    """A language model. Its weights are allocated, not drawn: `models.init` or a checkpoint fills them; `seed` keys
    them, and dropout. Raises ValueError for positions other than learned or rope."""

    def __init__(self, spec: ModelSpec, *, seed: int = 0) -> None:
        super().__init__()
        if spec.positions not in ("learned", "rope"):
            raise ValueError(f"the decoder has learned or rope positions, not {spec.positions}")
        self.spec = spec
        self.seed = seed
        self.names = names = names_of(spec)
        embedding = Embedding(spec.vocab, spec.hidden)
        head = Head(spec.hidden, spec.vocab)
        if spec.tie_embeddings:
            head.weight = embedding.weight
        trunk = nn.ModuleDict({names.embedding: embedding})
        if names.positions:
            trunk[names.positions] = Embedding(spec.max_positions, spec.hidden)
        trunk["drop"] = Dropout.of(spec, "embedding", seed)
        trunk[names.blocks] = nn.ModuleDict(
            {str(number): Block(spec, name=f"block {number}", seed=seed) for number in range(spec.layers)}
        )
        trunk[names.final_norm] = norm_of(spec)
        self.add_module(names.trunk, trunk)
        self.add_module(names.head, head)

    @property
    def trunk(self) -> nn.ModuleDict:
        """Everything but the head's product."""
        return cast(nn.ModuleDict, getattr(self, self.names.trunk))

    @property
    def blocks(self) -> nn.ModuleDict:
        """The blocks at hand, keyed by their number in the whole model."""
        return cast(nn.ModuleDict, self.trunk[self.names.blocks])

    @property
    def head(self) -> Head:
        """The product with the vocabulary, and the loss."""
        return cast(Head, getattr(self, self.names.head))

    def layers(self) -> list[tuple[str, LayerCall]]:
        """The layers at hand in order, by the names of `layers.gpt`.

        Each takes hidden values and sequences and gives hidden values; the embedding needs no hidden values, and the
        head gives the loss, or the logits where there are no targets.
        """
        found: list[tuple[str, LayerCall]] = []
        if self.names.embedding in self.trunk:
            found.append(("embedding", self._begin))
        found += ((f"block {number}", block) for number, block in self.blocks.items())
        if self.names.final_norm in self.trunk:
            found.append(("head", self._finish))
        return found

    def keep(self, names: Collection[str]) -> None:
        """Drop every layer but those that `names` holds, weights and all."""
        dropped = {name for name, _ in self.layers()} - set(names)
        if "embedding" in dropped:
            for child in {self.names.embedding, self.names.positions, "drop"} & set(self.trunk):
                del self.trunk[child]
        for number in [number for number in self.blocks if f"block {number}" in dropped]:
            del self.blocks[number]
        if "head" in dropped:
            del self.trunk[self.names.final_norm]
            delattr(self, self.names.head)

    def embed(self, sequences: Sequences) -> Tensor:
        """Tokens (and learned positions) to hidden values, (batch, sequence, hidden)."""
        hidden = self.trunk[self.names.embedding](sequences.tokens)
        if self.names.positions:
            hidden = hidden + self.trunk[self.names.positions](sequences.positions)
        return self.trunk["drop"](hidden, sequences)

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden values of the last block to logits, (batch, sequence, vocab)."""
        return self.head(self.trunk[self.names.final_norm](hidden))

    def loss(self, hidden: Tensor, sequences: Sequences) -> Tensor:
        """The sum of the cross-entropies of all targets, a scalar; the caller divides by their global count."""
        if sequences.targets is None:
            raise ValueError("a loss needs targets, and these sequences have none")
        return self.head.cross_entropy(self.logits(hidden), sequences.targets)

    def forward(self, sequences: Sequences, hidden: Tensor | None = None) -> Tensor:
        """What the last layer at hand gives: of a whole model the loss, or the logits where there are no targets.

        `hidden` comes from the stage before, if any.
        """
        for _, layer in self.layers():
            hidden = layer(hidden, sequences)
        return cast(Tensor, hidden)

    def _begin(self, hidden: Tensor | None, sequences: Sequences) -> Tensor:
        return self.embed(sequences)

    def _finish(self, hidden: Tensor | None, sequences: Sequences) -> Tensor:
        hidden = cast(Tensor, hidden)
        return self.logits(hidden) if sequences.targets is None else self.loss(hidden, sequences)

"""Logits of the next token, for some sequences that grow: computed tokens chase known tokens.

    known        a b c d e f g h      A row that has just begun computes its whole prompt, one that goes on its last
    computed     █ █ █ █ █ █ █ ▒      token alone: there is no other difference between prefill and decoding.

A model has learnt positions up to `max_positions` only. When a sequence is longer, it sees the end of it: the first
half of the window is let go, the rest computed again from position 0 on, and the window fills up anew.

    window 8     a b c d e f g h ─►         e f g h i ─►  …  ─►  e f g h i j k l ─►         i j k l m

What is seen is a function of the length alone, so that the same tokens have the same continuation, however they came.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from plait.devices.threads import one_thread
from plait.inference.decoder import decoder_around
from plait.inference.kv_cache import KVCache
from plait.models.attention import Attention
from plait.models.gpt import Decoder
from plait.models.sequences import Sequences

__all__ = ["ModelRunner", "first_seen"]

_CACHED = 32 * 2**20  # bytes of weights that stay in the processor's cache from token to token
# Tokens of a step whose products are too small to be shared: where memory is not what it waits for, two threads are no
# faster than one, and on a machine with other work to do many times slower: each of its products waits for both
_FEW = 16


def first_seen(known: int, window: int) -> int:
    """Of `known` tokens, the first that a model sees which can see `window`."""
    hop = max(1, window // 2)
    return hop * -(-max(0, known - window) // hop)


class ModelRunner:
    """Runs `decoder`, whose weights it shares, on `rows` sequences of at most `longest` tokens each."""

    def __init__(self, decoder: Decoder, *, rows: int, longest: int) -> None:
        self._decoder = decoder_around(decoder.spec, dict(decoder.named_parameters()))
        weight = self._decoder.head.weight
        self._window, self._device = decoder.spec.max_positions, weight.device
        self._cache = KVCache(
            decoder.spec, rows=rows, slots=min(longest, self._window), dtype=weight.dtype, device=weight.device
        )
        self._small = sum(weight.nbytes for weight in self._decoder.parameters()) <= _CACHED
        self._blocks = list(self._decoder.blocks.values())
        for number, block in enumerate(self._blocks):
            attention = block.get_submodule(self._decoder.names.attention)
            assert isinstance(attention, Attention)
            attention.attend = self._cache.slot(number)
        self._samples = torch.zeros(rows, dtype=torch.int64, device=weight.device)
        self._first, self._computed = [0] * rows, [0] * rows

    @torch.inference_mode()
    def logits(self, known: Sequence[Sequence[int]]) -> Tensor:
        """(rows, vocab): what follows all the known tokens of each row, which begin with those of the call before.

        Raises ValueError for a row without a new token.
        """
        by_count: dict[int, list[int]] = {}
        for row, tokens in enumerate(known):
            by_count.setdefault(self._pending(row, len(tokens)), []).append(row)
        parts = [self._forward(rows, [known[row][-count:] for row in rows]) for count, rows in by_count.items()]
        if len(parts) == 1:
            return parts[0]
        order = torch.tensor(list(chain(*by_count.values())), device=self._device)
        return torch.cat(parts)[order.argsort()]

    def _pending(self, row: int, known: int) -> int:
        """How many of a row's last tokens are to be computed."""
        first = first_seen(known, self._window)
        if first != self._first[row]:
            self._first[row], self._computed[row] = first, 0
        pending = known - first - self._computed[row]
        if pending < 1:
            raise ValueError(f"row {row} has no new token")
        return pending

    def _forward(self, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> Tensor:
        """(rows at hand, vocab), after equally many new tokens of each."""
        count = len(tokens[0])
        reach = self._cache.begin(rows, [self._computed[row] for row in rows], count)
        sequences = Sequences(
            tokens=torch.tensor(tokens, device=self._device),
            positions=reach.positions,
            samples=self._samples[: len(rows)],
        )
        with one_thread(self._small and len(rows) * count <= _FEW):
            hidden = self._decoder.embed(sequences)
            for block in self._blocks:
                hidden = block(hidden, sequences)
            logits = self._decoder.logits(hidden[:, -1])
        for row in rows:
            self._computed[row] += count
        return logits

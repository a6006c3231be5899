"""The attention core: what each query reads, once queries, keys and values are there.

    q      (batch, sequence, heads, head_dim)    ─┐
    k, v   (batch, sequence, kv_heads, head_dim) ─┴─►  (batch, sequence, heads, head_dim)

Heads are those at hand, which may be a shard: their numbers come from the shapes. Query head h reads key/value head
h // (heads / kv_heads), unless a shard cuts through such a group and says itself who reads what:

    15 query heads, 5 kv heads of 3 readers each; the second of two shards has    query heads   8 | 9 10 11 | 12 13 14
                                                                                  kv_of_head    0 | 1  1  1 |  2  2  2

Without dropout this is one fused kernel that never holds the (query, key) probabilities; keyed dropout needs to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from plait.models.dropout import Dropout
from plait.models.sequences import Sequences

__all__ = ["Attend", "AttendSlot", "AttentionForm"]


@dataclass(frozen=True, kw_only=True)
class AttentionForm:
    """What an attention layer is, apart from its weights: the place, later, of a window, a scale, a bias of positions.
    `heads` counts the query heads of the whole model."""

    heads: int
    dropout: Dropout
    causal: bool = True


AttendSlot = Callable[[Tensor, Tensor, Tensor, Sequences, AttentionForm], Tensor]


@dataclass(frozen=True, kw_only=True)
class Attend:
    """The plain core. `first_head` is the global number of the first query head at hand (for dropout), `kv_of_head` the
    local key/value head that each local query head reads, where equal groups don't say it."""

    first_head: int = 0
    kv_of_head: tuple[int, ...] | None = None

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, sequences: Sequences, form: AttentionForm) -> Tensor:
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (batch, heads, sequence, head_dim)
        if self.kv_of_head is not None:
            readers = _index(self.kv_of_head, k.device)
            k, v = k.index_select(1, readers), v.index_select(1, readers)
        if form.dropout.active:
            y = self._with_dropout(q, k, v, sequences, form)
        else:
            grouped = q.shape[1] != k.shape[1]
            y = F.scaled_dot_product_attention(q, k, v, is_causal=form.causal, enable_gqa=grouped)
        return y.transpose(1, 2)

    def _with_dropout(self, q: Tensor, k: Tensor, v: Tensor, sequences: Sequences, form: AttentionForm) -> Tensor:
        readers = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(readers, 1), v.repeat_interleave(readers, 1)
        q = q.contiguous()  # the product would copy it anyway; now also where one head is left, of a joint q|k|v
        scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5  # (batch, heads, query, key)
        if form.causal:
            scores = scores.masked_fill(sequences.once("later keys", lambda: _later(sequences)), -torch.inf)
        wide = torch.promote_types(q.dtype, torch.float32)
        weights = scores.softmax(-1, dtype=wide).to(q.dtype)
        return form.dropout.attention(weights, sequences, heads=form.heads, first_head=self.first_head) @ v


def _later(sequences: Sequences) -> Tensor:
    """True where a key stands after the query: (1 or batch, 1, query, key)."""
    positions = sequences.positions
    return positions[:, None, :, None] < positions[:, None, None, :]


@lru_cache
@torch.inference_mode(False)  # an index first made for inference must still serve training
def _index(numbers: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(numbers, device=device)

"""Keys and values of all tokens so far, so that each is computed once: the attend slot of every block, filled.

    keys, values   (blocks, rows, kv_heads, slots, head_dim)       one row a sequence, one slot a position

    row 0   ████████████▒          a step writes the slots of its own positions (▒) and reads all up to there: the slot
    row 1   █████▒                 of a token is its position, so that a mask needs nothing but positions

Which rows and positions a step is about, `begin` says; it knows nothing of tokens, text or sampling. A paged cache, for
many requests of unknown length, will fill the same slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from plait.models.attend import AttendSlot, AttentionForm
from plait.models.sequences import Sequences
from plait.specs.model import ModelSpec

__all__ = ["KVCache", "Reach"]


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What one step writes and reads: `count` positions of some rows, and every slot before `stop`."""

    rows: Tensor | None  # (rows at hand,); none: all rows, which spares a copy of what is read
    positions: Tensor  # (1 or rows at hand, count); the slots that are written
    start: int | None  # the first position, where it is the same for all rows at hand
    stop: int
    readable: Tensor | None  # (1 or rows at hand, 1, count, stop), true where a slot may be read; none: every slot may


class KVCache:
    """Room for `rows` sequences of `slots` tokens each. Nothing in it needs clearing: what a step reads was written by
    the same sequence, as long as each begins at position 0 and leaves none out."""

    def __init__(
        self, spec: ModelSpec, *, rows: int, slots: int, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> None:
        shape = (spec.layers, rows, spec.kv_heads, slots, spec.head_dim)
        # zeros, for a slot that may not be read is still multiplied by a weight of 0: it must hold no NaN
        self._keys = torch.zeros(shape, dtype=dtype, device=device)
        self._values = torch.zeros(shape, dtype=dtype, device=device)
        self._rows = tuple(range(rows))
        self._reach: Reach | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values."""
        return self._keys.nbytes + self._values.nbytes

    def slot(self, block: int) -> AttendSlot:
        """What fills the attend slot of a block."""
        return partial(self._attend, block)

    def begin(self, rows: Sequence[int], starts: Sequence[int], count: int) -> Reach:
        """Say what the next step is about: of `rows`, the positions from each one's start on, `count` of them."""
        device = self._keys.device
        level = len(set(starts)) == 1
        if level:
            positions = torch.arange(starts[0], starts[0] + count, device=device)[None]
        else:
            positions = torch.tensor(starts, device=device)[:, None] + torch.arange(count, device=device)
        stop = max(starts) + count
        readable = None
        if not level or count > 1:
            readable = torch.arange(stop, device=device) <= positions[:, None, :, None]
        self._reach = Reach(
            rows=None if tuple(rows) == self._rows else torch.tensor(rows, device=device),
            positions=positions,
            start=starts[0] if level else None,
            stop=stop,
            readable=readable,
        )
        return self._reach

    def _attend(self, block: int, q: Tensor, k: Tensor, v: Tensor, sequences: Sequences, form: AttentionForm) -> Tensor:
        reach = self._reach
        if reach is None:
            raise ValueError("a step on cached keys and values begins with `begin`")
        _write(self._keys[block], k, reach)
        _write(self._values[block], v, reach)
        if reach.start == 0 and q.shape[1] > 1:  # a beginning reads what it has just made
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (batch, heads, sequence, head_dim)
            grouped = q.shape[1] != k.shape[1]
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped).transpose(1, 2)
        return _read(q, _region(self._keys[block], reach), _region(self._values[block], reach), reach.readable)


def _write(stored: Tensor, new: Tensor, reach: Reach) -> None:
    """Put `new` (batch, sequence, kv_heads, head_dim) into its slots of `stored` (rows, kv_heads, slots, head_dim)."""
    if reach.rows is None and reach.start is not None:
        stored[:, :, reach.start : reach.stop].copy_(new.transpose(1, 2))
        return
    rows = torch.arange(len(stored), device=stored.device) if reach.rows is None else reach.rows
    stored.transpose(1, 2)[rows[:, None], reach.positions] = new


def _region(stored: Tensor, reach: Reach) -> Tensor:
    """Every slot that the step reads, of the rows at hand."""
    readable = stored[:, :, : reach.stop]
    return readable if reach.rows is None else readable[reach.rows]


def _read(q: Tensor, keys: Tensor, values: Tensor, readable: Tensor | None) -> Tensor:
    """(batch, sequence, heads, head_dim), from the readable slots. The query heads that share a key/value head stand
    where one kernel has queries, so that no key is copied for each of them:

    q   kv_head 0: | head 0, position 0, 1, … | head 1, position 0, 1, … |      (kv_heads, readers · sequence)
    """
    batch, sequence, heads, head_dim = q.shape
    kv_heads = keys.shape[1]
    readers = heads // kv_heads
    queries = q.transpose(1, 2).reshape(batch, kv_heads, readers * sequence, head_dim)
    if readable is not None:
        readable = readable.repeat(1, 1, readers, 1)
    y = F.scaled_dot_product_attention(queries, keys, values, attn_mask=readable)
    return y.reshape(batch, heads, sequence, head_dim).transpose(1, 2)

"""What a run leaves to be compared: tensors by step, kind and name; and the batch that both sides learn from.

The tokens are drawn by address, as every random number is, so that no tokenizer and no text is needed to prove a model.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch

from plait.models.sequences import Sequences
from plait.random.words import stream_key, words
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec

__all__ = ["Entry", "EntryKind", "Trace", "probe_batch"]

EntryKind = Literal["loss", "gradient", "norm", "weight", "optimizer"]


class Entry(NamedTuple):
    """Names one tensor of a run. `name` is the weight's; an optimizer tensor adds `/exp_avg` and the like."""

    step: int
    kind: EntryKind
    name: str


Trace = dict[Entry, torch.Tensor]


def probe_batch(model: ModelSpec, training: TrainingSpec, step: int) -> Sequences:
    """The whole global batch of one step: uniform random tokens, (global batch, sequence)."""
    rows, length = training.global_batch, training.sequence_length
    key = stream_key(training.seed, "probe tokens", step)
    drawn = words(key, np.arange(rows * (length + 1), dtype=np.uint64)) % np.uint64(model.vocab)
    tokens = torch.from_numpy(drawn.astype(np.int64)).view(rows, length + 1)
    return Sequences.of(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), first_sample=step * rows, step=step)

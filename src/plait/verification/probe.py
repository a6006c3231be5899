"""The batch that both sides learn from, and the dtypes that they compute in.

The tokens are drawn by address, as every random number is, so that no tokenizer and no text is needed to prove a model.
"""

from __future__ import annotations

import numpy as np
import torch

from plait.models.sequences import Sequences
from plait.random.words import stream_key, words
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec
from plait.verification.trace import Precision

__all__ = ["DTYPES", "probe_batch"]

DTYPES: dict[Precision, torch.dtype] = {"fp64": torch.float64, "fp32": torch.float32}


def probe_batch(model: ModelSpec, training: TrainingSpec, step: int) -> Sequences:
    """The whole global batch of one step: uniform random tokens, (global batch, sequence)."""
    rows, length = training.global_batch, training.sequence_length
    key = stream_key(training.seed, "probe tokens", step)
    drawn = words(key, np.arange(rows * (length + 1), dtype=np.uint64)) % np.uint64(model.vocab)
    tokens = torch.from_numpy(drawn.astype(np.int64)).view(rows, length + 1)
    return Sequences.of(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), first_sample=step * rows, step=step)

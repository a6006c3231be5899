"""The batch that both sides learn from, and the dtypes that they compute in.

The tokens are drawn by address, as every random number is, so that no tokenizer and no text is needed to prove a model.
Targets are left out, ever more from the first row to the last, so that two replicas never have equally many (as long as
there are no more replicas than tokens in a row): a mean of means is then another number than the mean.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from plait.models.loss import IGNORED
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
    drawn = _drawn(training.seed, "probe tokens", step, rows, length + 1) % np.uint64(model.vocab)
    tokens = torch.from_numpy(drawn.astype(np.int64))
    order = _drawn(training.seed, "probe targets", step, rows, length).argsort().argsort()
    left_out = order < np.arange(rows)[:, None] * length // rows  # none of the first row, all but a few of the last
    targets = tokens[:, 1:].masked_fill(torch.from_numpy(left_out), IGNORED)
    return Sequences.of(tokens[:, :-1].contiguous(), targets, first_sample=step * rows, step=step)


def _drawn(seed: int, name: str, step: int, rows: int, columns: int) -> npt.NDArray[np.uint64]:
    return words(stream_key(seed, name, step), np.arange(rows * columns, dtype=np.uint64)).reshape(rows, columns)

"""Batches of tokens: which sample comes at which step is a pure function of (seed, epoch, global index).

The state of the data is one integer, the step. A rank asks for its own rows of a step's global batch; nothing depends
on how many ranks there are, or on what was asked before. It knows a flat array of tokens, and neither ranks nor plans.

    tokens    t0 t1 t2 t3 | t4 t5 t6 t7 | t8 ...         sample i is the window [i * length, (i + 1) * length]:
    sample 0  t0 t1 t2 t3  -> targets t1 t2 t3 t4        windows share one token, the target that is the next's first
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from plait.data.dataset import TokenPart
from plait.models.loss import IGNORED
from plait.random.order import permuted
from plait.random.words import stream_key

__all__ = ["Batch", "Loader", "samples_of_step", "validation_batches"]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some rows of a global batch. All tensors are int64 on the CPU.

    samples is the global sample number of each row (for keyed randomness): no two rows of a run share one.
    target_count counts the targets of the *whole* global batch that are not IGNORED: the loss is a sum divided by
    it.
    """

    tokens: torch.Tensor  # (rows, sequence)
    targets: torch.Tensor  # (rows, sequence)
    samples: torch.Tensor  # (rows,)
    target_count: int


def samples_of_step(step: int, global_batch: int, dataset_samples: int, seed: int) -> npt.NDArray[np.int64]:
    """The samples of step 0, 1, 2..., (global_batch,): each epoch is another permutation of [0, dataset_samples).

    Samples are numbered through the run without a gap; an epoch may end, and the next begin, within a batch.
    Raises ValueError if there is no sample.
    """
    if dataset_samples < 1:
        raise ValueError("a dataset without one whole sequence has no samples")
    epochs, index = np.divmod(step * global_batch + np.arange(global_batch), dataset_samples)
    samples = np.empty(global_batch, dtype=np.int64)
    for epoch in np.unique(epochs):
        key = stream_key(seed, "data.order", int(epoch))
        samples[epochs == epoch] = permuted(index[epochs == epoch], dataset_samples, key)
    return samples


@dataclass(frozen=True, kw_only=True)
class Loader:
    """The training batches of a part, `global_batch` whole sequences a step; the last few tokens are left out."""

    part: TokenPart
    sequence_length: int
    global_batch: int
    seed: int

    @property
    def dataset_samples(self) -> int:
        """How many whole sequences the part has, each with its last target."""
        return (len(self.part.tokens) - 1) // self.sequence_length

    def batch(self, step: int, start: int, stop: int) -> Batch:
        """Rows [start, stop) of the global batch of `step` (the first is 0)."""
        windows = samples_of_step(step, self.global_batch, self.dataset_samples, self.seed)
        numbers = step * self.global_batch + np.arange(self.global_batch)
        return _rows(self.part, self.sequence_length, windows, numbers, slice(start, stop))


def validation_batches(
    part: TokenPart,
    *,
    sequence_length: int,
    global_batch: int,
    max_sequences: int | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[Batch]:
    """Rows [start, stop) of the batches of a part in its own order, each token but the first a target exactly once.

    Every batch has the shape of a training batch: what is missing at the end is filled with IGNORED targets.
    """
    sequences = -(-(len(part.tokens) - 1) // sequence_length)
    sequences = sequences if max_sequences is None else min(sequences, max_sequences)
    for first in range(0, sequences, global_batch):
        numbers = first + np.arange(global_batch)
        beyond = len(part.tokens) // sequence_length + 1
        windows = np.where(numbers < sequences, numbers, beyond)
        yield _rows(part, sequence_length, windows, numbers, slice(start, stop))


def _rows(
    part: TokenPart,
    sequence_length: int,
    windows: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.int64],
    rows: slice,
) -> Batch:
    """Gather the windows of `rows`; count the targets of all windows. Beyond the text, a target is IGNORED."""
    last = len(part.tokens) - 1
    index = windows[rows, None] * sequence_length + np.arange(sequence_length + 1)  # (rows, sequence + 1)
    tokens = part.tokens[np.minimum(index, last)].astype(np.int64)
    targets = np.where(index[:, 1:] <= last, tokens[:, 1:], IGNORED)
    return Batch(
        tokens=torch.from_numpy(tokens[:, :-1].copy()),
        targets=torch.from_numpy(targets),
        samples=torch.from_numpy(numbers[rows].copy()),
        target_count=int(np.clip(last - windows * sequence_length, 0, sequence_length).sum()),
    )

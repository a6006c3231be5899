"""After backward: the sums that are left over, the one global norm, and clipping by it.

    data buckets  →  tensor (sequence-parallel partials, shared kv heads)  →  pipeline (tied weights)  →  norm  →  clip

Which gradients are summed over whom is `plans.reductions`; here it is performed. The norm counts every element of the
model once: copies along the tensor axis by their first holder, tied weights by their first stage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

from plait.collectives.functional import all_reduce
from plait.collectives.process_groups import Group, Mesh
from plait.parallel.data_parallel import piece_of
from plait.plans.reductions import Reduction

__all__ = ["clip", "global_norm", "perform_reductions"]


def perform_reductions(gradients: Mapping[str, torch.Tensor], steps: Sequence[tuple[Reduction, Group]]) -> None:
    """Sum each reduction's pieces over its group, in place, one flat message each, in the order given."""
    for reduction, group in steps:
        pieces = [piece_of(gradients, piece) for piece in reduction.pieces]
        flat = torch.cat([piece.reshape(-1) for piece in pieces])
        all_reduce(flat, group).wait()
        for piece, summed in zip(pieces, flat.split([piece.numel() for piece in pieces]), strict=True):
            piece.copy_(summed.view(piece.shape))


def global_norm(owned: Iterable[torch.Tensor], mesh: Mesh, axes: Sequence[str] = ("tensor", "pipeline")) -> float:
    """The 2-norm of the whole model's gradients, of which this rank counts `owned`: its own in their dtype, the squares
    of the ranks along `axes` together in float64."""
    pieces = list(owned)
    device = pieces[0].device if pieces else torch.device("cpu")
    total = torch.zeros(1, dtype=torch.float64, device=device)
    if pieces:
        total += torch.nn.utils.get_total_norm(pieces).double().square()
    for axis in axes:
        all_reduce(total, mesh.axis(axis)).wait()
    return total.sqrt().item()


def clip(flat: Sequence[torch.Tensor], norm: float, limit: float) -> None:
    """Scale gradients so that their global norm is at most `limit` (torch's clip_grad_norm_, epsilon included)."""
    scale = limit / (norm + 1e-6)
    if scale < 1.0:
        for gradients in flat:
            gradients.mul_(scale)

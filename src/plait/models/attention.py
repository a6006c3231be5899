"""Self-attention around its core: project, turn by position, attend, project back.

    x ─ enter ─┬─► q ─ turn ─┐
               ├─► k ─ turn ─┼─► attend ─► out ─► dropout
               └─► v ────────┘

q, k and v come from three products (Llama) or from one (GPT-2, q|k|v in one dim). How many heads there are is read from
the weights at hand: a shard has fewer, and not every shard equally many.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from plait.layers.gpt import names_of
from plait.models.attend import Attend, AttendSlot, AttentionForm
from plait.models.dropout import Dropout
from plait.models.linear import Linear
from plait.models.rotary import rotate, rotation
from plait.models.sequences import Sequences
from plait.models.slots import Enter, identity
from plait.specs.model import ModelSpec

__all__ = ["Attention"]


class Attention(nn.Module):
    """(batch, sequence, hidden) to the same. Slots `enter(x)` and `attend(q, k, v, sequences, form)`, see `attend`."""

    def __init__(self, spec: ModelSpec, *, name: str, seed: int) -> None:
        super().__init__()
        names = names_of(spec)
        queries, keys = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
        outers = (queries, keys, keys) if len(names.project) == 3 else (queries + 2 * keys,)
        for child, outer in zip(names.project, outers, strict=True):
            self.add_module(child, Linear(spec.hidden, outer, bias=spec.bias, transposed=names.transposed))
        out = Linear(queries, spec.hidden, bias=spec.bias, transposed=names.transposed)
        self.add_module(names.attention_out, out)
        self.drop = Dropout.of(spec, f"{name} residual", seed)
        self.drop_probabilities = Dropout.of(spec, f"{name} probabilities", seed)
        self.head_dim = spec.head_dim
        self.theta = spec.rope_theta if spec.positions == "rope" else None
        self.form = AttentionForm(heads=spec.heads, dropout=self.drop_probabilities)
        self.enter: Enter = identity
        self.attend: AttendSlot = Attend()

    def forward(self, x: Tensor, sequences: Sequences) -> Tensor:
        *project, out, drop, _ = self.children()
        q, k, v = _project(self.enter(x), project, cast(Linear, out).inner)
        q, k, v = (heads.view(*heads.shape[:-1], -1, self.head_dim) for heads in (q, k, v))
        if self.theta is not None:
            turn = self._rotation(q, sequences)
            q, k = rotate(q, turn), rotate(k, turn)
        y = self.attend(q, k, v, sequences, self.form)  # (batch, sequence, local heads, head_dim)
        return drop(out(y.flatten(2)), sequences)

    def _rotation(self, q: Tensor, sequences: Sequences) -> tuple[Tensor, Tensor]:
        """cos and sin of these positions, computed by the first layer that asks."""
        theta, dim, dtype = cast(float, self.theta), self.head_dim, q.dtype
        return sequences.once(
            ("rotation", theta, dim, dtype),
            lambda: rotation(sequences.positions, head_dim=dim, theta=theta, dtype=dtype),
        )


def _project(x: Tensor, project: list[nn.Module], queries: int) -> tuple[Tensor, ...]:
    """q, k and v of the heads at hand; `queries` features of a joint product are q's, the rest k's and v's."""
    if len(project) == 3:
        return tuple(product(x) for product in project)
    joint = project[0](x)
    keys = (joint.shape[-1] - queries) // 2
    return joint.split((queries, keys, keys), -1)

"""Models and plans of many kinds, and saving under a plan without its ranks: each rank's slices, cut from the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from hypothesis import strategies as st

from plait.checkpoint.families import WEIGHTS
from plait.checkpoint.save import save_tensors
from plait.layers.gpt import describe_gpt
from plait.layers.layer import Layer
from plait.plans.holdings import Held, held_weights, stage_layers
from plait.plans.keeping import kept_weights
from plait.plans.plan import Plan
from plait.specs.model import ModelSpec

GPT2 = ModelSpec(layers=3, hidden=12, heads=3, kv_heads=3, ffn=10, vocab=11, max_positions=5)
LLAMA = ModelSpec(
    layers=3, hidden=16, heads=4, kv_heads=2, ffn=9, vocab=11, max_positions=5, positions="rope", norm="rms",
    activation="swiglu", bias=False, tie_embeddings=False,
)  # fmt: skip


@st.composite
def decoders(draw: st.DrawFn) -> ModelSpec:
    """Small decoders of both families of names."""
    kv_heads = draw(st.integers(1, 3))
    heads = kv_heads * draw(st.integers(1, 3))
    learned = draw(st.booleans())
    return ModelSpec(
        layers=draw(st.integers(1, 4)),
        hidden=heads * 2,
        heads=heads,
        kv_heads=kv_heads,
        ffn=draw(st.integers(heads, 13)),
        vocab=draw(st.integers(heads, 17)),
        max_positions=draw(st.integers(1, 5)),
        positions="learned" if learned else "rope",
        norm=draw(st.sampled_from(["layer", "rms"])),
        activation=draw(st.sampled_from(["gelu", "swiglu"])),
        bias=draw(st.booleans()),
        tie_embeddings=draw(st.booleans()),
    )


@st.composite
def plans(draw: st.DrawFn, spec: ModelSpec) -> Plan:
    """Any layout of the model: uneven shares, more tensor ranks than kv heads, uneven stages."""
    tensor = draw(st.integers(1, min(spec.heads, 4)))
    cuts = sorted(draw(st.sets(st.integers(1, spec.layers - 1), max_size=2))) if spec.layers > 1 else []
    stages = tuple(stop - start for start, stop in zip([0, *cuts], [*cuts, spec.layers], strict=True))
    uneven = draw(st.lists(st.sampled_from([1, 1.5, 2]), min_size=tensor, max_size=tensor))
    data = draw(st.integers(1, 3))
    return Plan(
        data=data,
        zero=draw(st.integers(0, 3)),
        tensor=tensor,
        pipeline=len(stages),
        stages=stages,
        tensor_shares=tuple(uneven),
        data_shares=(1,) * data,
    )


def one_rank(spec: ModelSpec) -> Plan:
    """The plan of a rank that holds everything."""
    return Plan(stages=(spec.layers,))


def whole_weights(
    layers: Sequence[Layer], *, seed: int = 0, dtype: torch.dtype = torch.float32
) -> dict[str, torch.Tensor]:
    """Random values for every weight."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {weight.name: weight.shape for layer in layers for weight in layer.weights}
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def held_by(layers: Sequence[Layer], plan: Plan, rank: int) -> tuple[Held, ...]:
    """What a rank updates of the weights that it holds."""
    stage, tensor_rank = plan.mesh.coordinate(rank, "pipeline"), plan.mesh.coordinate(rank, "tensor")
    held = held_weights(stage_layers(layers, plan.stages)[stage], plan, tensor_rank)
    return kept_weights(held, plan, plan.mesh.coordinate(rank, "data"))


def cut(whole: torch.Tensor, held: Held) -> torch.Tensor:
    """A rank's slice of a whole tensor."""
    for dim, pieces in enumerate(held.intervals):
        whole = torch.cat([whole.narrow(dim, start, stop - start) for start, stop in pieces], dim)
    return whole


def save_as(
    plan: Plan,
    directory: Path,
    spec: ModelSpec,
    whole: Mapping[str, torch.Tensor],
    *,
    step: int = 7,
    ranks: Sequence[int] | None = None,
    barrier: Callable[[], object] = lambda: None,
) -> None:
    """Save as the ranks of `plan` would, one after another; rank 0, which writes the manifest, comes last."""
    layers = describe_gpt(spec)
    for rank in reversed(range(plan.ranks)) if ranks is None else ranks:
        local = {held.weight.name: cut(whole[held.weight.name], held) for held in held_by(layers, plan, rank)}
        save_tensors(directory, {WEIGHTS: local}, layers, plan, rank, step=step, barrier=barrier)

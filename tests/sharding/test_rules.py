"""Where weights and their gradients live: split where an index is, whole elsewhere, for every family that is built."""

from __future__ import annotations

import pytest

from plait.layers.gpt import describe_gpt
from plait.layers.layer import Dim, Init, Part, Weight
from plait.sharding.placement import Partial, Replicate, Shard
from plait.sharding.rules import crossing, gradient_placement, is_split, residual_placement, weight_placement
from plait.specs.model import ModelSpec

SHAPE = {"layers": 2, "hidden": 12, "heads": 4, "kv_heads": 2, "ffn": 20, "vocab": 30, "max_positions": 8}
GPT2 = ModelSpec(**SHAPE)
LLAMA = ModelSpec(
    **SHAPE, positions="rope", norm="rms", activation="swiglu", bias=False, tie_embeddings=False
)  # fmt: skip


def weights(spec: ModelSpec) -> dict[str, Weight]:
    return {weight.name: weight for layer in describe_gpt(spec) for weight in layer.weights}


def weight(*indices: str) -> Weight:
    dims = tuple(Dim(parts=(Part(index=index, units=4),)) for index in indices)
    return Weight(name="w", path="w", dims=dims, init=Init(kind="zeros"), decays=False)


@pytest.mark.parametrize(
    ("indices", "placement"),
    [
        (("ffn", "hidden"), Shard(0)),
        (("hidden", "ffn"), Shard(1)),
        (("heads",), Shard(0)),
        (("vocab", "hidden"), Shard(0)),
        (("hidden",), Replicate()),
        (("positions", "hidden"), Replicate()),
    ],
)
def test_a_weight_is_split_where_its_index_is(indices, placement):
    assert weight_placement(weight(*indices)) == placement


def test_what_is_split():
    assert {i for i in ("hidden", "heads", "kv_heads", "ffn", "vocab", "positions") if is_split(i)} == {
        "heads", "kv_heads", "ffn", "vocab",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "suffix", "placement"),
    [
        (GPT2, "wte.weight", Shard(0)),
        (GPT2, "wpe.weight", Replicate()),
        (GPT2, "h.0.attn.c_attn.weight", Shard(1)),
        (GPT2, "h.0.attn.c_attn.bias", Shard(0)),
        (GPT2, "h.0.attn.c_proj.weight", Shard(0)),
        (GPT2, "h.0.attn.c_proj.bias", Replicate()),
        (GPT2, "h.1.mlp.c_fc.weight", Shard(1)),
        (GPT2, "h.1.mlp.c_proj.weight", Shard(0)),
        (GPT2, "h.1.ln_1.weight", Replicate()),
        (LLAMA, "embed_tokens.weight", Shard(0)),
        (LLAMA, "layers.0.self_attn.q_proj.weight", Shard(0)),
        (LLAMA, "layers.0.self_attn.k_proj.weight", Shard(0)),
        (LLAMA, "layers.0.self_attn.o_proj.weight", Shard(1)),
        (LLAMA, "layers.1.mlp.gate_proj.weight", Shard(0)),
        (LLAMA, "layers.1.mlp.down_proj.weight", Shard(1)),
        (LLAMA, "model.norm.weight", Replicate()),
        (LLAMA, "lm_head.weight", Shard(0)),
    ],
)
def test_every_kind_of_weight_of_the_families(spec, suffix, placement):
    (found,) = [one for name, one in weights(spec).items() if name.endswith(suffix)]
    assert weight_placement(found) == placement


@pytest.mark.parametrize("spec", [GPT2, LLAMA])
def test_at_most_one_dim_is_split(spec):
    for one in weights(spec).values():
        assert sum(any(is_split(part.index) for part in dim.parts) for dim in one.dims) <= 1
        assert all(len({is_split(part.index) for part in dim.parts}) == 1 for dim in one.dims)


@pytest.mark.parametrize("spec", [GPT2, LLAMA])
def test_a_gradient_lives_with_its_weight_but_where_each_rank_saw_a_part_of_the_sequence(spec):
    for one in weights(spec).values():
        placement = weight_placement(one)
        assert gradient_placement(one, sequence_parallel=False) == placement
        partial = placement == Replicate()
        assert gradient_placement(one, sequence_parallel=True) == (Partial() if partial else placement)


@pytest.mark.parametrize(
    ("kind", "sequence_parallel", "forward", "backward"),
    [
        ("enter", False, None, "all_reduce"),
        ("leave", False, "all_reduce", None),
        ("enter", True, "all_gather", "reduce_scatter"),
        ("leave", True, "reduce_scatter", "all_gather"),
    ],
)
def test_what_the_crossings_cost(kind, sequence_parallel, forward, backward):
    """Shoeybi et al. 2019, figure 3; Korthikanti et al. 2022, figure 5."""
    found = crossing(kind, sequence_parallel=sequence_parallel)
    assert (found.value.collective, found.gradient.collective) == (forward, backward)


def test_the_residual_stream_is_split_along_the_sequence():
    assert residual_placement(sequence_parallel=True) == Shard(1)
    assert residual_placement(sequence_parallel=False) == Replicate()

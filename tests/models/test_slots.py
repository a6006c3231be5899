"""Every slot is called, with what its place promises, and what it returns is used; shards of layers are cut by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from plait.models.attend import Attend
from plait.models.attention import Attention
from plait.models.dropout import Dropout
from plait.models.embedding import Embedding
from plait.models.gpt import Decoder
from plait.models.head import Head
from plait.models.linear import Linear
from plait.models.mlp import MLP
from plait.models.slots import identity
from plait.specs.model import ModelSpec
from tests.models.shapes import BATCH, GPT2, GROUPED, LENGTH, LLAMA, batch, decoder

SLOTS = {
    Embedding: ["lookup"],
    Linear: ["multiply"],
    Attention: ["enter", "attend"],
    MLP: ["enter"],
    Head: ["enter", "multiply", "cross_entropy"],
    Dropout: ["share"],
}


def slots_of(made: nn.Module) -> list[tuple[nn.Module, str]]:
    return [(module, slot) for module in made.modules() for slot in SLOTS.get(type(module), [])]


@pytest.mark.parametrize("spec", [GPT2, replace(GROUPED, dropout=0.1)], ids=["gpt2", "llama"])
def test_each_slot_is_called_once_a_forward(spec: ModelSpec) -> None:
    made, calls = decoder(spec), Counter()

    def counted(name: tuple[int, str], slot: Any) -> Any:
        def call(*args: Any) -> Any:
            calls[name] += 1
            return slot(*args)

        return call

    plain = made(batch(spec))
    names = []
    for number, (module, slot) in enumerate(slots_of(made)):
        if isinstance(module, Dropout) and (not module.active or "probabilities" in module.name):
            continue
        names.append((number, slot))
        setattr(module, slot, counted(names[-1], getattr(module, slot)))
    assert made(batch(spec)) == plain
    assert calls == Counter(names)


def test_slots_hold_no_weight_and_have_no_name() -> None:
    made = decoder(GPT2)
    names = list(made.state_dict())
    for module, slot in slots_of(made):
        assert not isinstance(getattr(module, slot), nn.Module)
    assert list(made.state_dict()) == names


def test_what_enters_feeds_all_products_and_what_attends_gets_heads() -> None:
    made, sequences = decoder(GROUPED), batch(GROUPED)
    attention = made.blocks["0"].get_submodule("self_attn")
    x = torch.randn(BATCH, LENGTH, GROUPED.hidden, dtype=torch.float64)
    expected = attention(2 * x, sequences)
    attention.enter = lambda x: 2 * x
    assert torch.equal(attention(x, sequences), expected)
    shapes = []
    plain = attention.attend
    attention.attend = lambda q, k, v, *rest: (shapes.extend([q.shape, k.shape, v.shape]), plain(q, k, v, *rest))[1]
    attention(x, sequences)
    assert shapes == [(BATCH, LENGTH, 4, 12), (BATCH, LENGTH, 2, 12), (BATCH, LENGTH, 2, 12)]


def test_a_transposed_weight_comes_outer_first_and_uncopied() -> None:
    linear = Linear(3, 5, bias=True, transposed=True)
    seen = []
    linear.multiply = lambda x, weight, bias: (seen.append((weight, bias)), F.linear(x, weight, bias))[1]
    nn.init.normal_(linear.weight)
    nn.init.normal_(linear.bias)
    x = torch.randn(2, 3)
    torch.testing.assert_close(linear(x), x @ linear.weight + linear.bias)
    ((weight, bias),) = seen
    assert weight.shape == (5, 3)
    assert weight.data_ptr() == linear.weight.data_ptr()
    assert bias is linear.bias


def cut(weight: nn.Parameter, *pieces: tuple[int, int], dim: int) -> nn.Parameter:
    return nn.Parameter(torch.cat([weight.detach().narrow(dim, start, stop - start) for start, stop in pieces], dim))


def shard_of_attention(spec: ModelSpec, heads: tuple[int, int], kv_heads: tuple[int, int], dim: int) -> Attention:
    """The first block's attention with some query heads and kv heads; `dim` is the split one of the input weights."""
    attention = decoder(spec).blocks["0"].get_submodule("attn" if dim else "self_attn")
    width = spec.head_dim
    q = (heads[0] * width, heads[1] * width)
    k = (kv_heads[0] * width, kv_heads[1] * width)
    *project, out, _, _ = attention.children()
    if len(project) == 1:
        after_q, after_k = spec.heads * width, (spec.heads + spec.kv_heads) * width
        pieces = [[q, (after_q + k[0], after_q + k[1]), (after_k + k[0], after_k + k[1])]]
    else:
        pieces = [[q], [k], [k]]
    for product, those in zip(project, pieces, strict=True):
        product.weight = cut(product.weight, *those, dim=dim)
        if product.bias is not None:
            product.bias = cut(product.bias, *those, dim=0)
    out.weight = cut(out.weight, q, dim=1 - dim)
    if out.bias is not None and heads[0] > 0:
        out.bias = None
    return attention


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(
    ("kv_heads", "kv_ranges", "maps"),
    [
        (6, [(0, 4), (4, 6)], [None, None]),  # as many as queries, unevenly shared
        (2, [(0, 2), (1, 2)], [(0, 0, 0, 1), None]),  # the cut goes through a group: both hold kv head 1
        (1, [(0, 1), (0, 1)], [None, None]),  # fewer than ranks: both hold it
    ],
)
@pytest.mark.parametrize("family", [GPT2, LLAMA], ids=["joint", "three"])
def test_shards_of_uneven_heads_sum_to_the_whole(
    family: ModelSpec,
    kv_heads: int,
    kv_ranges: list[tuple[int, int]],
    maps: list[tuple[int, ...] | None],
    dropout: float,
) -> None:
    spec = replace(family, heads=6, kv_heads=kv_heads, dropout=dropout)
    dim = 1 if family is GPT2 else 0
    x = torch.randn(BATCH, LENGTH, spec.hidden, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = shard_of_attention(spec, (0, 6), (0, kv_heads), dim)
    parts = []
    for heads, kv_range, readers in zip([(0, 4), (4, 6)], kv_ranges, maps, strict=True):
        part = shard_of_attention(spec, heads, kv_range, dim)
        part.attend = Attend(first_head=heads[0], kv_of_head=readers)
        parts.append(part)
    for attention in (whole, *parts):
        attention.drop.probability = 0.0  # what is dropped after the sum has its own test
    torch.testing.assert_close(
        sum(part(x, batch(spec)) for part in parts), whole(x, batch(spec)), rtol=1e-13, atol=1e-15
    )


def test_a_map_of_heads_made_for_inference_serves_training() -> None:
    q, k = torch.randn(1, 4, 5, 2), torch.randn(1, 4, 2, 2, requires_grad=True)
    form, sequences = decoder(GPT2).blocks["0"].get_submodule("attn").form, batch(GPT2)
    attend = Attend(kv_of_head=(0, 0, 1, 1, 1))
    with torch.inference_mode():
        attend(q, k, k, sequences, form)
    attend(q, k, k, sequences, form).sum().backward()
    assert k.grad is not None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("spec", [GPT2, GROUPED], ids=["gpt2", "grouped"])
def test_attention_without_dropout_is_the_fused_kernel(spec: ModelSpec, dtype: torch.dtype) -> None:
    made = decoder(spec, dtype=dtype)
    with torch.profiler.profile() as profile:
        made(batch(spec)).backward()
    counts = {event.key: event.count for event in profile.key_averages()}
    assert counts["aten::_scaled_dot_product_flash_attention_for_cpu"] == spec.layers
    assert counts["aten::_scaled_dot_product_flash_attention_for_cpu_backward"] == spec.layers


def test_the_default_does_nothing() -> None:
    x = torch.ones(2)
    assert identity(x) is x
    assert Decoder(GPT2).head.enter is identity

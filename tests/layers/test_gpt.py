"""The description of a decoder counts the published models' parameters, and says what each layer is made of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.layers.gpt import describe_gpt, names_of
from plait.specs.model import ModelSpec

GPT2_SMALL = ModelSpec(layers=12, hidden=768, heads=12, kv_heads=12, ffn=3072, vocab=50257, max_positions=1024)
LLAMA2_7B = ModelSpec(
    layers=32, hidden=4096, heads=32, kv_heads=32, ffn=11008, vocab=32000, max_positions=4096,
    positions="rope", norm="rms", activation="swiglu", bias=False, tie_embeddings=False,
)  # fmt: skip
LLAMA3_8B = replace(LLAMA2_7B, kv_heads=8, ffn=14336, vocab=128256, max_positions=8192, rope_theta=500000.0)
GPT3 = replace(GPT2_SMALL, layers=96, hidden=12288, heads=96, kv_heads=96, ffn=49152, max_positions=2048)


def parameters(spec: ModelSpec) -> int:
    sizes = {}
    for layer in describe_gpt(spec):
        for weight in layer.weights:
            elements = 1
            for size in weight.shape:
                elements *= size
            sizes[weight.name] = elements
    return sum(sizes.values())


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        (GPT2_SMALL, 124_439_808),  # Hugging Face's gpt2
        (LLAMA2_7B, 6_738_415_616),  # meta-llama/Llama-2-7b
        (LLAMA3_8B, 8_030_261_248),  # meta-llama/Meta-Llama-3-8B
        (GPT3, 174_604_259_328),  # "175 billion" (Brown et al., 2020)
    ],
)
def test_published_models_have_their_published_size(spec: ModelSpec, count: int) -> None:
    assert parameters(spec) == count


def test_names_follow_the_positions_and_swiglu_adds_a_gate() -> None:
    assert names_of(GPT2_SMALL).up == ("c_fc",)
    assert names_of(replace(GPT2_SMALL, activation="swiglu")).up == ("c_gate", "c_fc")
    assert names_of(LLAMA2_7B).up == ("gate_proj", "up_proj")
    assert (names_of(GPT2_SMALL).transposed, names_of(LLAMA2_7B).transposed) == (True, False)


def test_values_flow_from_layer_to_layer() -> None:
    at_hand = {"tokens", "positions", "targets"}
    layers = describe_gpt(GPT2_SMALL)
    for layer in layers:
        assert set(layer.needs) <= at_hand
        at_hand |= set(layer.gives)
    assert [layer.name for layer in layers] == ["embedding", *(f"block {n}" for n in range(12)), "head"]
    assert layers[-1].gives == ("loss",)


def test_a_tied_weight_has_one_name_in_two_places() -> None:
    first, last = describe_gpt(GPT2_SMALL)[0].weights[0], describe_gpt(GPT2_SMALL)[-1].weights[-1]
    assert first.name == last.name == first.path
    assert last.path == "lm_head.weight"
    untied = describe_gpt(replace(GPT2_SMALL, tie_embeddings=False))[-1].weights[-1]
    assert untied.name == untied.path == "lm_head.weight"


def test_only_matrices_decay_and_residual_branches_begin_smaller() -> None:
    weights = [weight for layer in describe_gpt(GPT2_SMALL) for weight in layer.weights]
    assert all(weight.decays == (len(weight.shape) == 2) for weight in weights)
    small = [weight for weight in weights if weight.init.kind == "normal" and weight.init.std < 0.02]
    assert len(small) == 24
    assert all(weight.name.endswith("c_proj.weight") for weight in small)
    assert small[0].init.std == pytest.approx(0.02 / 24**0.5)


def test_products_have_the_dims_of_their_weights() -> None:
    for spec in (GPT2_SMALL, LLAMA3_8B):
        block = describe_gpt(spec)[1]
        matrices = [weight.dims for weight in block.weights if len(weight.dims) == 2]
        linear = [product for product in block.products if product.kind == "linear"]
        order = slice(None) if names_of(spec).transposed else slice(None, None, -1)
        assert [dims[order] for dims in matrices] == [(product.inner, product.outer) for product in linear]

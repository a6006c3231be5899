"""Parameter counts are the published ones, part by part, and those of the layers that are described."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.layers.gpt import describe_gpt
from plait.layers.parameters import Parameters, block_parameters, parameters
from plait.specs.files import job_from_table
from plait.specs.model import Experts, LatentAttention, ModelSpec
from plait.specs.presets import PRESETS

# All weights, as the published checkpoints have them (model cards, safetensors' totals, the papers named in presets).
# Learned positions are counted for the places that the checkpoint has; 8 stands where there are none.
EXACT = {
    "gpt2": (124_439_808, 1024), "gpt2-medium": (354_823_168, 1024), "gpt2-large": (774_030_080, 1024),
    "gpt2-xl": (1_557_611_200, 1024),
    "llama2-7b": (6_738_415_616, 8), "llama2-13b": (13_015_864_320, 8), "llama2-70b": (68_976_648_192, 8),
    "llama3-8b": (8_030_261_248, 8), "llama3-70b": (70_553_706_496, 8), "llama3-405b": (405_853_388_800, 8),
    "llama3.1-8b": (8_030_261_248, 8), "llama3.1-70b": (70_553_706_496, 8), "llama3.1-405b": (405_853_388_800, 8),
    "llama3.2-1b": (1_235_814_400, 8), "llama3.2-3b": (3_212_749_824, 8),
    "mistral-7b": (7_241_732_096, 8), "mistral-7b-v0.3": (7_248_023_552, 8), "mistral-nemo-12b": (12_247_782_400, 8),
    "mistral-large-123b": (122_610_069_504, 8), "mixtral-8x7b": (46_702_792_704, 8),
    "mixtral-8x22b": (140_620_634_112, 8),
    "qwen2.5-0.5b": (494_032_768, 8), "qwen2.5-1.5b": (1_543_714_304, 8), "qwen2.5-3b": (3_085_938_688, 8),
    "qwen2.5-7b": (7_615_616_512, 8), "qwen2.5-14b": (14_770_033_664, 8), "qwen2.5-32b": (32_763_876_352, 8),
    "qwen2.5-72b": (72_706_203_648, 8),
    "qwen3-0.6b": (596_049_920, 8), "qwen3-1.7b": (1_720_574_976, 8), "qwen3-4b": (4_022_468_096, 8),
    "qwen3-8b": (8_190_735_360, 8), "qwen3-14b": (14_768_307_200, 8), "qwen3-32b": (32_762_123_264, 8),
    "qwen3-30b-a3b": (30_532_122_624, 8), "qwen3-235b-a22b": (235_093_634_560, 8),
    "bloom-560m": (559_214_592, 8), "bloom-1b1": (1_065_314_304, 8), "bloom-1b7": (1_722_408_960, 8),
    "bloom-3b": (3_002_557_440, 8), "bloom-7b1": (7_069_016_064, 8), "bloom-176b": (176_247_271_424, 8),
    "mpt-7b": (6_649_286_656, 8),
    "bert-base": (110_106_428, 512), "bert-large": (336_226_108, 512),  # with both heads of its pretraining
    "t5-small": (60_506_624, 8), "t5-base": (222_903_552, 8), "t5-large": (737_668_096, 8), "t5-3b": (2_851_598_336, 8),
    "t5-11b": (11_307_321_344, 8), "t5-v1.1-small": (76_961_152, 8), "t5-v1.1-base": (247_577_856, 8),
    "t5-v1.1-large": (783_150_080, 8), "t5-v1.1-xl": (2_849_757_184, 8), "t5-v1.1-xxl": (11_135_332_352, 8),
}  # fmt: skip
# in billions, as announced in two or three digits
ROUNDED = {
    "gpt3-125m": (0.125, 2048), "gpt3-350m": (0.35, 2048), "gpt3-760m": (0.76, 2048), "gpt3-1.3b": (1.3, 2048),
    "gpt3-2.7b": (2.7, 2048), "gpt3-6.7b": (6.7, 2048), "gpt3-13b": (13.0, 2048), "gpt3-175b": (175.0, 2048),
    "deepseek-v3": (671.0, 8), "kimi-k2": (1026.0, 8), "mpt-30b": (30.0, 8), "mpt-70b": (65.0, 8),
    "pangu-alpha-2.6b": (2.6, 1024), "pangu-alpha-13b": (13.1, 1024), "pangu-alpha-200b": (207.0, 1024),
}  # fmt: skip
ACTIVE = {  # in billions a token, as announced
    "mixtral-8x7b": 12.9, "mixtral-8x22b": 39.0, "qwen3-30b-a3b": 3.3, "qwen3-235b-a22b": 22.0, "deepseek-v3": 37.0,
    "kimi-k2": 32.6,
}  # fmt: skip


def counted(name: str, places: int = 8) -> Parameters:
    spec = ModelSpec(**PRESETS[name], max_positions=places)
    return parameters(spec)


def described(spec: ModelSpec) -> int:
    weights = {weight.name: weight for layer in describe_gpt(spec) for weight in layer.weights}
    total = 0
    for weight in weights.values():
        size = 1
        for length in weight.shape:
            size *= length
        total += size
    return total


def test_every_model_with_a_name_is_tried():
    assert set(EXACT) | set(ROUNDED) == set(PRESETS)
    assert set(ACTIVE) == {name for name, shape in PRESETS.items() if "experts" in shape}


@pytest.mark.parametrize("name", EXACT)
def test_a_model_has_exactly_the_published_weights(name):
    published, places = EXACT[name]
    assert counted(name, places).total == published


@pytest.mark.parametrize("name", ROUNDED)
def test_a_model_has_about_the_announced_weights(name):
    announced, places = ROUNDED[name]
    assert counted(name, places).total == pytest.approx(announced * 1e9, rel=0.025)


@pytest.mark.parametrize("name", ACTIVE)
def test_a_token_meets_the_announced_weights(name):
    assert counted(name).active == pytest.approx(ACTIVE[name] * 1e9, rel=0.02)


def test_the_blocks_for_the_next_but_one_token_stand_beside_the_model():
    """DeepSeek-V3's card: 671 B of the main model, 11.5 B more of its own in the prediction module."""
    found = counted("deepseek-v3")
    assert found.predictions == pytest.approx(11.6e9, rel=0.01)
    assert found.total == 671_026_419_200


def test_parts_of_mixtral():
    found = counted("mixtral-8x7b")
    assert found.embedding == found.head == 32000 * 4096
    assert found.attention == 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024)
    assert (found.experts, found.active_experts) == (32 * 8 * 3 * 4096 * 14336, 32 * 2 * 3 * 4096 * 14336)
    assert (found.mlp, found.router, found.norms) == (0, 32 * 8 * 4096, 65 * 4096)


def test_the_first_blocks_of_deepseek_are_dense():
    spec = ModelSpec(**PRESETS["deepseek-v3"], max_positions=8)
    first, later = block_parameters(spec, 2), block_parameters(spec, 3)
    assert (first.mlp, first.experts, first.router, first.shared) == (3 * 7168 * 18432, 0, 0, 0)
    assert (later.mlp, later.shared) == (0, 3 * 7168 * 2048)
    assert first.active == first.total
    assert later.active < later.total / 19


def test_what_the_page_s_keys_describe_is_counted_as_the_layers_have_it():
    for name, shape in PRESETS.items():
        job = job_from_table({"model": {"name": name}, "cluster": {"device": "h200"}})
        if set(shape) & {"experts", "latent", "head_width", "query_bias", "query_norm", "embedding_norm"}:
            continue
        if job.model.family == "gpt" and job.model.positions in ("learned", "rope"):
            assert described(job.model) == parameters(job.model).total


@given(
    layers=st.integers(1, 3), heads=st.sampled_from([1, 2, 6]), width=st.sampled_from([2, 4]), ffn=st.integers(1, 9),
    positions=st.sampled_from(["learned", "rope"]), norm=st.sampled_from(["layer", "rms"]),
    activation=st.sampled_from(["gelu", "relu", "swiglu"]), bias=st.booleans(), tied=st.booleans(),
)  # fmt: skip
def test_any_decoder_that_runs_is_counted_as_its_layers_have_it(
    layers, heads, width, ffn, positions, norm, activation, bias, tied
):
    spec = ModelSpec(
        layers=layers, hidden=heads * width, heads=heads, kv_heads=1, ffn=ffn, vocab=11, max_positions=5,
        positions=positions, norm=norm, activation=activation, bias=bias, tie_embeddings=tied,
    )  # fmt: skip
    assert parameters(spec).total == described(spec)


SMALL = ModelSpec(layers=2, hidden=8, heads=2, kv_heads=2, ffn=8, vocab=8, max_positions=8, bias=False)


def test_each_further_part_adds_its_own_weights():
    """One part at a time, by hand."""
    before = parameters(SMALL).total
    more = {
        "query_norm": (True, 2 * 2 * 4), "embedding_norm": (True, 8), "token_types": (2, 16),
        "norm_bias": (True, 5 * 8), "post_norms": (True, 2 * 2 * 8),
        "query_bias": (True, 2 * 24), "head_width": (8, 2 * 4 * 8 * 8), "branches": ("one-norm", -2 * 8),
        "positions": ("relative", 32 * 2 - 64), "window": (4, 0), "activation": ("geglu", 2 * 64),
        "experts": (Experts(count=4, per_token=1, ffn=2, shared=1, shared_gate=True, router_bias=True),
                    2 * (4 * 8 + 4 + 8 + 5 * 32 - 128)),
        "latent": (LatentAttention(query_rank=3, kv_rank=5, plain=2, rotated=2, value=1),
                   2 * (3 * 8 + 3 + 3 * 8 + 8 * 7 + 5 + 5 * 6 + 2 * 8 - 256)),
    }  # fmt: skip
    for key, (value, weights) in more.items():
        assert parameters(replace(SMALL, **{key: value})).total - before == weights, key


def test_a_decoder_that_reads_an_encoder_attends_twice():
    spec = replace(SMALL, family="t5", encoder_layers=1)
    encoder, decoder = block_parameters(spec, 0), block_parameters(spec, 1)
    assert (decoder.attention, decoder.norms) == (2 * encoder.attention, 3 * encoder.norms // 2)

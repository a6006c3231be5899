"""A checkpoint's configuration is read as its shape; one that is broken is refused with the file and the field."""

from __future__ import annotations

import copy
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.errors import Problem
from plait.layers.parameters import parameters
from plait.plans.cautions import cautions
from plait.specs.config_guess import lacking
from plait.specs.files import job_from_table, parse_job
from plait.specs.huggingface import KINDS, Reading, reading_of
from plait.specs.model import ModelSpec
from plait.specs.presets import PRESETS
from tests.specs.configurations import CONFIGURATIONS

# Fields of published configurations (their pages on Hugging Face), and the name whose shape they say
PUBLISHED: dict[str, dict[str, Any]] = {
    "gpt2-medium": {"model_type": "gpt2", "n_embd": 1024, "n_head": 16, "n_layer": 24, "vocab_size": 50257},
    "llama3-8b": {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 500000.0,
        "vocab_size": 128256, "tie_word_embeddings": False, "hidden_act": "silu", "attention_bias": False,
    },
    "mixtral-8x7b": {
        "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 1000000.0,
        "vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": None,
    },
    "qwen2.5-7b": {
        "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28,
        "num_hidden_layers": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
        "vocab_size": 152064, "use_sliding_window": False, "sliding_window": 131072, "max_window_layers": 28,
    },
    "qwen3-30b-a3b": {
        "model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144, "num_attention_heads": 32,
        "num_hidden_layers": 48, "num_key_value_heads": 4, "head_dim": 128, "moe_intermediate_size": 768,
        "num_experts": 128, "num_experts_per_tok": 8, "decoder_sparse_step": 1, "mlp_only_layers": [],
        "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "vocab_size": 151936, "attention_bias": False,
    },
    "deepseek-v3": {
        "model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18432, "num_attention_heads": 128,
        "num_hidden_layers": 61, "num_key_value_heads": 128, "q_lora_rank": 1536, "kv_lora_rank": 512,
        "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 256,
        "num_experts_per_tok": 8, "n_shared_experts": 1, "moe_intermediate_size": 2048, "first_k_dense_replace": 3,
        "moe_layer_freq": 1, "num_nextn_predict_layers": 1, "rms_norm_eps": 1e-06, "rope_theta": 10000,
        "vocab_size": 129280,
    },
    "bloom-176b": {"model_type": "bloom", "n_embed": 14336, "n_layer": 70, "num_attention_heads": 112,
                   "vocab_size": 250880, "layer_norm_epsilon": 1e-05},
    "bert-large": {"model_type": "bert", "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16,
                   "num_hidden_layers": 24, "vocab_size": 30522, "type_vocab_size": 2},
    "t5-11b": {"model_type": "t5", "d_model": 1024, "d_ff": 65536, "d_kv": 128, "num_heads": 128, "num_layers": 24,
               "vocab_size": 32128},
    "t5-v1.1-xl": {"model_type": "t5", "d_model": 2048, "d_ff": 5120, "d_kv": 64, "num_heads": 32, "num_layers": 24,
                   "num_decoder_layers": 24, "vocab_size": 32128, "feed_forward_proj": "gated-gelu",
                   "tie_word_embeddings": False},
}  # fmt: skip
ELSEWHERE = {"device": "h100-80gb", "nodes": 4}


def written(folder: Path, content: object) -> str:
    path = folder / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def model_of(name: dict[str, str]) -> ModelSpec:
    return job_from_table({"model": name, "cluster": ELSEWHERE}).model


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_configuration_is_the_named_model(tmp_path, name):
    path = written(tmp_path, PUBLISHED[name])
    assert model_of({"huggingface": path}) == model_of({"huggingface": str(tmp_path)}) == model_of({"name": name})


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_each_kind_can_be_planned_for(tmp_path, name):
    reading = reading_of(written(tmp_path, CONFIGURATIONS[name]))
    assert isinstance(reading, Reading)
    assert set(reading.shape) <= {field.name for field in fields(ModelSpec)}
    assert model_of({"huggingface": str(tmp_path)}).layers in (3, 5)


def test_each_kind_is_tried():
    assert {config["model_type"] for config in CONFIGURATIONS.values()} == set(KINDS)


def test_keys_beside_it_override_it(tmp_path):
    written(tmp_path, CONFIGURATIONS["llama"])
    model = job_from_table({"model": {"huggingface": str(tmp_path), "layers": 1, "vocab": 300}}).model
    assert (model.layers, model.vocab, model.hidden, model.kv_heads) == (1, 300, 32, 2)


def refusal(place: str) -> str:
    problems = parse_job({"model": {"huggingface": place}}).problems
    assert [problem.key for problem in problems] == ["model.huggingface"]
    return problems[0].message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "Expecting property name"),
        ("[1, 2]", "a list in place of a table"),
        ('"llama"', "a text in place of a table"),
        ("[" * 100000, "recursion"),
        ({}, "model_type is missing; known are gpt2, gpt_bigcode"),
        ({"model_type": "mamba"}, "the nearest is"),
        ({"model_type": 3}, "model_type = 3 is a whole number in place of a name"),
        ({"model_type": "mamba"}, "to be read as the nearest decoder it lacks hidden_size, num_hidden_layers"),
        ({"model_type": "llamma"}, "the nearest is llama;"),
        ({"model_type": "llama", "num_attention_heads": 8}, "is missing"),
        ({"model_type": "llama", "hidden_size": "4096"}, 'hidden_size = "4096" is no whole number'),
        ({"model_type": "llama", "num_hidden_layers": 0}, "num_hidden_layers = 0 is no whole number from 1"),
        ({"model_type": "llama", "vocab_size": True}, "vocab_size = true"),
        ({"model_type": "llama", "hidden_act": "mish"}, 'hidden_act = "mish" is not known here; known are silu'),
        ({"model_type": "llama", "rms_norm_eps": -1}, "rms_norm_eps = -1 is no number above 0"),
        ({"model_type": "llama", "rope_theta": float("nan")}, "rope_theta = nan"),
        ({"model_type": "llama", "rope_theta": 10**400}, "rope_theta = an integer of"),
        ({"model_type": "mpt", "attn_config": {"qk_ln": True}}, "qk_ln = true is a shape that Plait has no words for"),
        ({"model_type": "llama", "tie_word_embeddings": "yes"}, "neither true nor false"),
        ({"model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 3}, "more than the 2 experts"),
        ({"model_type": "qwen3_moe", "mlp_only_layers": [99]}, "mlp_only_layers = [99] is no list"),
        ({"model_type": "qwen2_moe", "moe_intermediate_size": 7}, "is no multiple of moe_intermediate_size = 7"),
        ({"model_type": "cohere2", "layer_types": 3}, "layer_types = 3 is a whole number in place of a list"),
        ({"model_type": "opt", "word_embed_proj_dim": 512}, "word_embed_proj_dim = 512"),
        ({"model_type": "mpt", "attn_config": 3}, "attn_config = 3 is a whole number in place of a table"),
        ({"model_type": "deepseek_v3", "moe_layer_freq": 2}, "moe_layer_freq = 2"),
    ],
)
def test_a_broken_configuration_is_told_with_its_file_and_field(tmp_path, content, said):
    if isinstance(content, dict) and said != "is missing":
        content = {**CONFIGURATIONS.get(content.get("model_type"), {}), **content}  # the rest of it is right
    path = written(tmp_path, content)
    message = refusal(path)
    assert message.startswith(path)
    assert said in message


def test_what_is_no_file_is_told(tmp_path):
    assert "No such file" in refusal(str(tmp_path / "none"))
    assert "No such file" in refusal(str(tmp_path))  # a directory without a config.json
    assert "no regular file" in refusal("/dev/null")
    (tmp_path / "config.json").write_bytes(b"\xff\xfe")
    assert "utf-8" in refusal(str(tmp_path))
    assert "null" in refusal("a\0b")


def test_what_can_t_be_run_here_is_refused_by_its_parts(tmp_path):
    written(tmp_path, CONFIGURATIONS["deepseek_v3"])
    message = refusal(str(tmp_path))
    assert "experts, latent: not built yet" in message


@pytest.mark.parametrize("kind", KINDS)
def test_a_size_has_to_be_there(tmp_path, kind):
    config = {"model_type": kind}
    for _ in range(30):  # as many as there are sizes
        found = reading_of(written(tmp_path, config))
        if not isinstance(found, Problem):
            break
        missing = found.message.removeprefix(f"{tmp_path}/config.json: ").removesuffix(" is missing")
        assert missing.isidentifier()
        config[missing] = 8 if missing != "num_experts_per_tok" else 2
    else:
        pytest.fail("there is always something missing")
    assert len(config) > (3 if kind.startswith("gemma3") else 4)  # whose smallest is published without its heads


# ---- what a shape does not say, and decoders of other kinds ---------------------------------------------------------


def notes_on(folder: Path, config: dict[str, Any]) -> tuple[str, ...]:
    reading = reading_of(written(folder, config))
    assert isinstance(reading, Reading)
    return reading.notes


@pytest.mark.parametrize(
    ("name", "more", "notes"),
    [
        ("llama", {}, ()),
        ("llama", {"rope_scaling": {"factor": 8}, "dtype": "bfloat16", "architectures": ["LlamaForCausalLM"]}, ()),
        ("llama", {"mlp_bias": True}, ("mlp_bias = true (not counted)",)),
        ("gpt_neox", {"rotary_pct": 1.0}, ()),
        ("gpt_neox", {}, ("rotary_pct = 0.25",)),
        ("granite", {"embedding_multiplier": 1.0}, ()),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 1}, ("sliding_window = 16 in some blocks alone",)),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 3}, ()),  # of three blocks
        ("qwen2_vl", {}, ("vision_config (not counted)",)),
        ("gemma2", {"final_logit_softcapping": None, "layer_types": ["full_attention"] * 3},
         ("attn_logit_softcapping = 50.0",)),
    ],
)  # fmt: skip
def test_what_a_shape_does_not_say_is_noted(tmp_path, name, more, notes):
    assert notes_on(tmp_path, {**CONFIGURATIONS[name], **more}) == notes


def test_windows_of_all_blocks_are_a_shape_and_those_of_some_are_not(tmp_path):
    config = {**CONFIGURATIONS["cohere2"], "layer_types": ["sliding_attention"] * 3}
    assert model_of({"huggingface": written(tmp_path, config)}).window == 16
    assert model_of({"huggingface": written(tmp_path, CONFIGURATIONS["cohere2"])}).window is None


def test_a_larger_baichuan_has_no_rotary_positions(tmp_path):
    config = {key: one for key, one in CONFIGURATIONS["baichuan"].items() if key != "max_position_embeddings"}
    assert model_of({"huggingface": written(tmp_path, CONFIGURATIONS["baichuan"])}).positions == "rope"
    assert model_of({"huggingface": written(tmp_path, config)}).positions == "alibi"


def test_the_first_gemma_3_leaves_out_what_is_usual(tmp_path):
    """google/gemma-3-4b-pt: its text_config has no heads and no vocabulary."""
    text = {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34}
    model = model_of({"huggingface": written(tmp_path, {"model_type": "gemma3", "text_config": text})})
    assert (model.heads, model.kv_heads, model.head_dim, model.vocab) == (8, 4, 256, 262_208)
    assert model.post_norms
    assert model.tie_embeddings


SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
         "vocab_size": 288}  # fmt: skip


def test_a_decoder_of_an_unknown_kind_is_read_by_its_sizes_and_all_else_is_noted(tmp_path):
    model = model_of({"huggingface": written(tmp_path, {"model_type": "unheard_of", **SIZES})})
    assert model == model_of({
        "layers": 3, "hidden": 32, "heads": 4, "ffn": 48, "vocab": 288, "positions": "rope", "norm": "rms",
        "norm_eps": 1e-6, "activation": "swiglu", "bias": False,
    })  # fmt: skip
    more = {"use_wonder": True, "use_nothing": False, "gate_rank": 7, "dtype": "bfloat16", "eos_token_id": 3}
    assert notes_on(tmp_path, {"model_type": "unheard_of", **SIZES, **more}) == (
        'model_type = "unheard_of", which is not known here',
        "tie_word_embeddings, left out and taken for true",
        "num_key_value_heads, left out and taken for num_attention_heads",
        "use_wonder = true",
        "gate_rank = 7",
    )


@pytest.mark.parametrize(
    ("name", "off"),
    [(name, 0.02 if name != "llama4_text" else 0.5) for name, config in CONFIGURATIONS.items()
     if not lacking(config) and KINDS[config["model_type"]].__module__ in
     ("plait.specs.config_llamas", "plait.specs.config_experts")],
)  # fmt: skip
def test_a_known_decoder_under_another_name_is_counted_nearly(tmp_path, name, off):
    """All but Llama 4, whose dense blocks have a width that no other kind says."""
    config = {"tie_word_embeddings": False, **CONFIGURATIONS[name]}
    own = parameters(model_of({"huggingface": written(tmp_path, config)})).total
    guess = parameters(model_of({"huggingface": written(tmp_path, {**config, "model_type": "unheard_of"})})).total
    assert guess == pytest.approx(own, rel=off)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"mamba_d_state": 16}, "mamba_d_state = 16: no decoder with attention in every block"),
        ({"linear_num_key_heads": 4}, "linear_num_key_heads = 4: no decoder"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder = true: no decoder"),
        ({"type_vocab_size": 2}, "type_vocab_size = 2: no decoder"),
        ({"layer_types": ["linear_attention", "full_attention"]}, "layer_types has linear_attention, a shape"),
        ({"attn_type_list": [0, 1]}, "attn_type_list has 0, a shape"),
        ({"architectures": ["OtherForMaskedLM"]}, "architectures has OtherForMaskedLM, which is no decoder"),
        ({"hidden_act": "mish"}, 'hidden_act = "mish" is not known here'),
        ({"num_experts": 4}, "num_experts_per_tok is missing"),
    ],
)
def test_what_has_no_words_is_refused_of_an_unknown_kind(tmp_path, more, said):
    assert said in refusal(written(tmp_path, {"model_type": "unheard_of", **SIZES, **more}))


def test_this_machine_refuses_what_a_shape_does_not_say(tmp_path):
    """A run would learn another model than the one whose configuration it is; a plan elsewhere says so."""
    for config, said in (({"model_type": "unheard_of", **SIZES}, "unheard_of"),
                         ({**CONFIGURATIONS["smollm3"]}, "no_rope_layer_interval = 4")):  # fmt: skip
        place = written(tmp_path, config)
        message = refusal(place)
        assert said in message
        assert message.endswith("not built yet on this machine, and only planned")
        job = job_from_table({"model": {"huggingface": place}, "cluster": ELSEWHERE})
        (caution,) = [one for one in cautions(job, 2) if one.key == "model.huggingface"]
        assert said in caution.message
    assert not parse_job({"model": {"huggingface": written(tmp_path, CONFIGURATIONS["phi3"]), "vocab": 300},
                          "training": {"sequence_length": 8}}).problems  # fmt: skip


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2**70), st.floats(), st.text(max_size=5),
    st.lists(st.integers(-1, 5), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@given(st.data())
def test_a_mutated_configuration_is_a_shape_or_a_problem_with_words(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("config")
    config = copy.deepcopy(CONFIGURATIONS[data.draw(st.sampled_from(sorted(CONFIGURATIONS)))])
    if data.draw(st.booleans()):
        config["model_type"] = "unheard_of"
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(sorted(config)))
        if data.draw(st.booleans()):
            config[key] = data.draw(VALUES)
        elif len(config) > 1:
            del config[key]
    found = parse_job({"model": {"huggingface": written(folder, config)}, "cluster": ELSEWHERE})
    assert all(problem.message for problem in found.problems)
    assert found.problems or found.job.model.layers >= 1


def test_every_name_that_a_configuration_says_has_its_count():
    assert set(PUBLISHED) <= set(PRESETS)

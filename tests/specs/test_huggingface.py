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
from plait.specs.files import job_from_table, parse_job
from plait.specs.huggingface import KINDS, shape_in
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
    shape = shape_in(written(tmp_path, CONFIGURATIONS[name]))
    assert not isinstance(shape, Problem)
    assert set(shape) <= {field.name for field in fields(ModelSpec)}
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
        ({}, "model_type is missing; known are gpt2, gpt_neox"),
        ({"model_type": "mamba"}, "the nearest is"),
        ({"model_type": 3}, "model_type = 3 is not known here; known are"),
        ({"model_type": "llamma"}, "the nearest is llama;"),
        ({"model_type": "llama", "num_attention_heads": 8}, "is missing"),
        ({"model_type": "llama", "hidden_size": "4096"}, 'hidden_size = "4096" is no whole number'),
        ({"model_type": "llama", "num_hidden_layers": 0}, "num_hidden_layers = 0 is no whole number from 1"),
        ({"model_type": "llama", "vocab_size": True}, "vocab_size = true"),
        ({"model_type": "llama", "hidden_act": "mish"}, 'hidden_act = "mish" is not known here; known are silu'),
        ({"model_type": "llama", "rms_norm_eps": -1}, "rms_norm_eps = -1 is no number above 0"),
        ({"model_type": "llama", "rope_theta": float("nan")}, "rope_theta = nan"),
        ({"model_type": "llama", "rope_theta": 10**400}, "rope_theta = an integer of"),
        ({"model_type": "llama", "mlp_bias": True}, "mlp_bias = true is a shape that Plait has no words for"),
        ({"model_type": "llama", "tie_word_embeddings": "yes"}, "neither true nor false"),
        ({"model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 3}, "more than the 2 experts"),
        ({"model_type": "qwen3_moe", "mlp_only_layers": [99]}, "mlp_only_layers = [99] is no list"),
        ({"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 8}, "windows in some layers only"),
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
        found = shape_in(written(tmp_path, config))
        if not isinstance(found, Problem):
            break
        missing = found.message.removeprefix(f"{tmp_path}/config.json: ").removesuffix(" is missing")
        assert missing.isidentifier()
        config[missing] = 8 if missing != "num_experts_per_tok" else 2
    else:
        pytest.fail("there is always something missing")
    assert len(config) > 4


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2**70), st.floats(), st.text(max_size=5),
    st.lists(st.integers(-1, 5), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@given(st.data())
def test_a_mutated_configuration_is_a_shape_or_a_problem_with_words(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("config")
    config = copy.deepcopy(CONFIGURATIONS[data.draw(st.sampled_from(sorted(CONFIGURATIONS)))])
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

"""The parameters that a configuration is counted to have are those that transformers' own module of it has, less what
the reading says that it does not count."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from plait.layers.parameters import parameters
from plait.specs.files import job_from_table
from plait.specs.job import Job
from tests.specs.configurations import CONFIGURATIONS, UNKNOWN

transformers = pytest.importorskip("transformers")

ROBERTAS = ("roberta", "camembert", "xlm-roberta")
MODULES = {"bert": "AutoModelForPreTraining", "t5": "AutoModelForSeq2SeqLM", "mt5": "AutoModelForSeq2SeqLM",
           **dict.fromkeys(ROBERTAS, "AutoModelForMaskedLM")}  # fmt: skip
# kinds that transformers has no module for, or only one with eyes, and what has the same weights
ALIKE = {"kimi_k2": "deepseek_v3", "internlm2": "llama", "baichuan": "llama", "qwen2_vl": "qwen2",
         "qwen2_vl_text": "qwen2", "qwen2_5_vl_text": "qwen2", "qwen3_vl_text": "qwen3",
         "qwen3_vl_moe_text": "qwen3_moe"}  # fmt: skip
SPARE = dict.fromkeys(("opt", *ROBERTAS), 2)  # rows of tables of positions: their first are never looked up

_Fields = Mapping[str, Any]


def _asks_for_next_sentence(config: _Fields) -> int:
    return config["hidden_size"] ** 2 + 3 * config["hidden_size"] + 2


def _wide_norms(config: _Fields) -> int:
    width = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    return -3 * (config["num_attention_heads"] + config["num_key_value_heads"] - 2) * width


def _gpt_oss(config: _Fields) -> int:
    hidden, experts = config["hidden_size"], config["num_local_experts"]
    return -3 * (hidden + config["num_attention_heads"] + experts * (2 * config["intermediate_size"] + hidden))


# weights that are counted beyond the module's, by the notes of their readings
OTHERWISE: Mapping[str, Callable[[_Fields], int]] = {
    **dict.fromkeys(ROBERTAS, _asks_for_next_sentence),
    **dict.fromkeys(("gptj", "codegen"), lambda config: 3 * config["n_embd"] - config["vocab_size"]),
    "phi": lambda config: -config["vocab_size"],
    "cohere, whole norms": lambda config: -3 * (4 + 2) * config["hidden_size"] // 4,
    "olmo": lambda config: 7 * config["hidden_size"],
    "llama, biases of attention": lambda config: -3 * config["hidden_size"],
    **dict.fromkeys(("olmo2", "olmo3", "olmoe", "minimax_m2"), _wide_norms),
    "gpt_oss": _gpt_oss,
}


def fields_of(config: _Fields) -> dict[str, Any]:
    """Of the text, where a configuration is also of something else."""
    return dict(config.get("text_config", config))


def elements(config: dict[str, Any]) -> int:
    """Of transformers' module, weights that are used twice counted once; nothing is allocated."""
    kind = config.pop("model_type")
    kind = ALIKE.get(kind, kind)
    module = getattr(transformers, MODULES.get(kind, "AutoModelForCausalLM"))
    with torch.device("meta"):
        model = module.from_config(transformers.AutoConfig.for_model(kind, **config))
    buffers = [value for key, value in model.named_buffers() if key.endswith("e_score_correction_bias")]
    other = -SPARE.get(kind, 0) * config.get("hidden_size", 0)
    untied = kind in ("t5", "mt5") and config.get("tie_word_embeddings") is False
    if untied and model.lm_head.weight is model.shared.weight:
        other = model.lm_head.weight.numel()  # tied by release 5 whatever is said; v1.1 and mT5 are not
    return sum(weight.numel() for weight in {id(one): one for one in [*model.parameters(), *buffers]}.values()) + other


def job_of(tmp_path: Any, config: _Fields) -> Job:
    (tmp_path / "config.json").write_text(json.dumps(config))
    table = {
        "model": {"huggingface": str(tmp_path)}, "cluster": {"device": "h200"}, "training": {"sequence_length": 64},
    }  # fmt: skip
    return job_from_table(table)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_counts_are_those_of_the_module(tmp_path, name):
    config = fields_of(CONFIGURATIONS[name])
    job = job_of(tmp_path, CONFIGURATIONS[name])
    beyond = OTHERWISE[name](config) if name in OTHERWISE else 0
    assert parameters(job.model).total == elements(config) + beyond
    own = [note for note in job.left_alone if "_config " not in note]
    assert any("counted" in note for note in own) == (name in OTHERWISE), own


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_kind_that_nobody_has_read_is_counted_nearly(tmp_path, name):
    assert parameters(job_of(tmp_path, UNKNOWN[name]).model).total == pytest.approx(
        elements(dict(UNKNOWN[name])), rel=0.002
    )

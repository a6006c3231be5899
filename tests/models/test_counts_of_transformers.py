"""The parameters that a configuration is counted to have are those that transformers' own module of it has."""

from __future__ import annotations

import json

import pytest
import torch

from plait.layers.parameters import parameters
from plait.specs.files import job_from_table
from tests.specs.configurations import CONFIGURATIONS

transformers = pytest.importorskip("transformers")

MODULES = {"bert": "AutoModelForPreTraining", "t5": "AutoModelForSeq2SeqLM"}
SPARE_ROWS = 2  # of OPT's table of positions: its first two are never looked up


def elements(name: str) -> int:
    """Of transformers' module, weights that are used twice counted once; nothing is allocated."""
    config = dict(CONFIGURATIONS[name])
    kind = config.pop("model_type")
    module = getattr(transformers, MODULES.get(kind, "AutoModelForCausalLM"))
    with torch.device("meta"):
        model = module.from_config(transformers.AutoConfig.for_model(kind, **config))
    buffers = [value for key, value in model.named_buffers() if key.endswith("e_score_correction_bias")]
    other = -SPARE_ROWS * config["hidden_size"] if kind == "opt" else 0
    if kind == "t5" and config.get("tie_word_embeddings") is False and model.lm_head.weight is model.shared.weight:
        other = model.lm_head.weight.numel()  # tied by release 5 whatever is said; v1.1 is not
    return sum(weight.numel() for weight in {id(one): one for one in [*model.parameters(), *buffers]}.values()) + other


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_counts_are_those_of_the_module(tmp_path, name):
    (tmp_path / "config.json").write_text(json.dumps(CONFIGURATIONS[name]))
    table = {
        "model": {"huggingface": str(tmp_path)}, "cluster": {"device": "h200"}, "training": {"sequence_length": 64},
    }  # fmt: skip
    assert parameters(job_from_table(table).model).total == elements(name)

"""First values: normal where described so, the same for any part of a model, one draw for a tied weight."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from plait.layers.gpt import describe_gpt
from plait.models.gpt import Decoder
from plait.models.init import first_values, initialise
from plait.random.normal import normal_box
from plait.random.words import stream_key
from plait.specs.model import ModelSpec
from tests.models.shapes import GPT2, GROUPED

WIDE = replace(GPT2, hidden=96, bias=True)


def test_each_weight_begins_as_described() -> None:
    made = Decoder(WIDE)
    initialise(made, WIDE, 3)
    values = made.state_dict()
    for layer in describe_gpt(WIDE):
        for weight in layer.weights:
            found = values[weight.path].double()
            if weight.init.kind == "normal":
                error = weight.init.std / found.numel() ** 0.5
                assert abs(found.mean()) < 5 * error
                assert abs(found.std() - weight.init.std) < 5 * error
            else:
                assert torch.equal(found, torch.full(weight.shape, float(weight.init.kind == "ones")).double())


def test_a_slice_drawn_alone_is_the_slice_of_the_whole() -> None:
    weight = next(w for layer in describe_gpt(WIDE) for w in layer.weights if w.name.endswith("h.1.attn.c_attn.weight"))
    box = ((5, 90), (17, 200))
    part = normal_box(stream_key(3, weight.name), weight.shape, box, std=0.02, dtype=torch.float32)
    assert torch.equal(part, first_values(weight, 3, torch.float32)[5:90, 17:200])


@pytest.mark.parametrize("spec", [GPT2, GROUPED], ids=["tied", "untied"])
def test_a_stage_begins_as_that_part_of_the_whole(spec: ModelSpec) -> None:
    whole = Decoder(spec)
    initialise(whole, spec, 1)
    for layer in describe_gpt(spec):
        stage = Decoder(spec)
        stage.keep({layer.name})
        torch.nn.init.constant_(next(stage.parameters()), torch.nan)
        initialise(stage, spec, 1)
        for name, value in stage.state_dict().items():
            assert torch.equal(value, whole.state_dict()[name]), name


def test_the_seed_and_the_name_decide_and_the_dtype_only_rounds() -> None:
    def drawn(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
        made = Decoder(GROUPED).to(dtype)
        initialise(made, GROUPED, seed)
        return made.state_dict()

    first = drawn(1)
    gate, up = "model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(first[gate], first[up])
    assert not torch.equal(first[gate], drawn(2)[gate])
    assert torch.equal(first[gate].bfloat16(), drawn(1, torch.bfloat16)[gate])

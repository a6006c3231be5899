"""A stage says how large the value is that reaches it, and lets its layers know how long the whole sequence is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from plait.collectives.process_groups import Group
from plait.layers.gpt import describe_gpt
from plait.models.gpt import Decoder
from plait.models.sequences import Sequences
from plait.parallel.pipeline_stage import DecoderStage, Extent, cut_stage
from tests.parallel.cases import GPT2

ALL = [layer.name for layer in describe_gpt(GPT2)]


def inputs(samples=3, length=7):
    return Sequences.of(torch.zeros(samples, length, dtype=torch.int64))


def group(index):
    return Group(axis="tensor", ranks=(0, 1, 2), index=index)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_what_arrives_is_like_the_residual_stream(dtype):
    like = DecoderStage(Decoder(GPT2).to(dtype), ALL, Extent(), None).hidden_like(inputs())
    assert (like.shape, like.dtype) == ((3, 7, 24), dtype)


@pytest.mark.parametrize(("index", "length"), [(0, 3), (1, 2), (2, 2)])
def test_or_like_one_rank_s_share_of_it(index, length):
    assert DecoderStage(Decoder(GPT2), ALL, Extent(), group(index)).hidden_like(inputs()).shape == (3, length, 24)


def test_forward_tells_the_length_before_any_layer_asks():
    extent, heard = Extent(), []
    decoder = Decoder(GPT2)
    decoder.blocks["0"].register_forward_pre_hook(lambda *_: heard.append(extent.length))
    DecoderStage(decoder, ALL, extent, None).forward(None, inputs(length=7))
    assert heard == [7]


def test_a_cut_stage_has_the_weights_of_its_layers_alone():
    decoder, (_, first, *_) = Decoder(GPT2), describe_gpt(GPT2)
    cut_stage(decoder, [first])
    assert {name for name, _ in decoder.named_parameters()} == {weight.path for weight in first.weights}
    assert DecoderStage(decoder, ALL, Extent(), None).hidden_like(inputs()).shape == (3, 7, 24)


def test_learning_turns_dropout_on_and_off():
    decoder = Decoder(replace(GPT2, dropout=0.5))
    stage = DecoderStage(decoder, ALL, Extent(), None)
    for learning in (False, True):
        stage.train(learning)
        assert decoder.trunk["drop"].active is learning

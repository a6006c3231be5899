"""Logits, loss and every gradient equal transformers' own modules on the same weights, which move by name alone.

transformers casts to float32 inside Llama (RMSNorm, the rotation, the eager softmax), whatever the weights are. To
compare in float64, a function mode turns each such cast into one to float64.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from plait.models.gpt import Decoder
from plait.models.init import initialise
from plait.specs.model import ModelSpec
from tests.models.shapes import GPT2, GROUPED, LLAMA, batch

# Sums in another order (a fused norm, a fused attention) cost 2 to 17 units in the last place of the largest value.
ULPS = 64


class Float64(TorchFunctionMode):
    """Whatever would be made float32 is made float64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        func = torch.Tensor.double if func is torch.Tensor.float else func
        lifted = {torch.float32: torch.float64}
        args = [lifted.get(arg, arg) if isinstance(arg, torch.dtype) else arg for arg in args]
        kwargs = {k: lifted.get(v, v) if isinstance(v, torch.dtype) else v for k, v in (kwargs or {}).items()}
        return func(*args, **kwargs)


def original(spec: ModelSpec, attention: str) -> torch.nn.Module:
    """The published module of this shape, with random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    if spec.positions == "learned":
        config = GPT2Config(
            n_layer=spec.layers, n_embd=spec.hidden, n_head=spec.heads, n_inner=spec.ffn, vocab_size=spec.vocab,
            n_positions=spec.max_positions, layer_norm_epsilon=spec.norm_eps, attn_pdrop=0.0, resid_pdrop=0.0,
            embd_pdrop=0.0, activation_function={"gelu": "gelu_new", "relu": "relu"}[spec.activation],
            tie_word_embeddings=spec.tie_embeddings, attn_implementation=attention, bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        model = GPT2LMHeadModel(config)
    else:
        config = LlamaConfig(
            num_hidden_layers=spec.layers, hidden_size=spec.hidden, num_attention_heads=spec.heads,
            num_key_value_heads=spec.kv_heads, intermediate_size=spec.ffn, vocab_size=spec.vocab,
            max_position_embeddings=spec.max_positions, rms_norm_eps=spec.norm_eps, rope_theta=spec.rope_theta,
            attention_bias=spec.bias, mlp_bias=spec.bias, tie_word_embeddings=spec.tie_embeddings,
            attn_implementation=attention,
        )  # fmt: skip
        model = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():  # biases and norms too: zeros and ones hide errors
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return model.train()


def assert_same(theirs: torch.nn.Module, spec: ModelSpec, dtype: torch.dtype) -> None:
    """Copy their weights, and compare all that comes out of one forward and backward."""
    ours = Decoder(spec).to(dtype)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    sequences = batch(spec)
    logits = theirs(input_ids=sequences.tokens).logits
    loss = F.cross_entropy(logits.flatten(0, 1), sequences.targets.flatten(), reduction="sum")
    loss.backward()
    hidden = None
    for _, layer in ours.layers()[:-1]:
        hidden = layer(hidden, sequences)
    pairs = {"logits": (ours.logits(hidden), logits)}
    mine = ours(sequences)
    mine.backward()
    gradients = dict(ours.named_parameters())
    pairs |= {name: (gradients.pop(name).grad, theirs.grad) for name, theirs in theirs.named_parameters()}
    assert not gradients
    for name, (got, wanted) in {"loss": (mine, loss), **pairs}.items():
        error = (got - wanted).abs().max() / wanted.abs().max()
        assert error < ULPS * torch.finfo(dtype).eps, f"{name}: {error:.1e}"


SPECS = {
    "gpt2": GPT2,
    "gpt2 untied, relu": replace(GPT2, tie_embeddings=False, activation="relu"),
    "llama": LLAMA,
    "llama grouped": GROUPED,
    "llama grouped, tied, biased, another theta": replace(
        GROUPED, tie_embeddings=True, bias=True, rope_theta=500.0, norm_eps=1e-3
    ),
}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_equals_transformers_in_float64(spec: ModelSpec, attention: str) -> None:
    with Float64():
        assert_same(original(spec, attention).double(), spec, torch.float64)


@pytest.mark.parametrize("spec", [GPT2, GROUPED], ids=["gpt2", "llama grouped"])
def test_equals_transformers_in_float32_as_it_is(spec: ModelSpec) -> None:
    assert_same(original(spec, "eager"), spec, torch.float32)


@pytest.mark.parametrize("spec", [GPT2, GROUPED], ids=["gpt2", "llama grouped"])
def test_our_first_values_fit_the_original(spec: ModelSpec) -> None:
    theirs, ours = original(spec, "eager"), Decoder(spec)
    initialise(theirs, spec, 5)
    initialise(ours, spec, 5)
    sequences = batch(spec)
    torch.testing.assert_close(theirs(input_ids=sequences.tokens).logits, ours(replace(sequences, targets=None)))

"""Logits, loss and every gradient equal transformers' own modules on the same weights, which move by name alone.

transformers casts to float32 inside Llama (RMSNorm, the rotation, the eager softmax), whatever the weights are. To
compare in float64, a function mode turns each such cast into one to float64.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from plait.models.gpt import Decoder
from plait.models.init import initialise
from plait.specs.model import ModelSpec
from plait.verification.lift import Lift
from plait.verification.witness import published_module
from tests.models.shapes import GPT2, GROUPED, LLAMA, batch

# Sums in another order (a fused norm, a fused attention) cost 2 to 17 units in the last place of the largest value.
ULPS = 64


def original(spec: ModelSpec, attention: str) -> torch.nn.Module:
    """The published module of this shape, with random weights."""
    model = published_module(spec, attention)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():  # biases and norms too: zeros and ones hide errors
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return model


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
    with Lift():
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

"""The shapes that these tests speak of, and a batch to run them on."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import strategies as st

from plait.models.gpt import Decoder
from plait.models.init import initialise
from plait.models.sequences import Sequences
from plait.specs.model import ModelSpec

GPT2 = ModelSpec(layers=2, hidden=48, heads=4, kv_heads=4, ffn=100, vocab=37, max_positions=16)
LLAMA = replace(GPT2, positions="rope", norm="rms", activation="swiglu", bias=False, tie_embeddings=False)
GROUPED = replace(LLAMA, kv_heads=2)
BATCH, LENGTH = 3, 11


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    """Any decoder, its options combined freely."""
    kv_heads, readers = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    heads = kv_heads * readers
    return ModelSpec(
        layers=draw(st.integers(1, 3)),
        hidden=heads * 2 * draw(st.integers(1, 4)),
        heads=heads,
        kv_heads=kv_heads,
        ffn=draw(st.integers(1, 30)),
        vocab=draw(st.integers(1, 40)),
        max_positions=draw(st.integers(1, 20)),
        positions=draw(st.sampled_from(["learned", "rope"])),
        norm=draw(st.sampled_from(["layer", "rms"])),
        activation=draw(st.sampled_from(["gelu", "relu", "swiglu"])),
        bias=draw(st.booleans()),
        tie_embeddings=draw(st.booleans()),
    )


def decoder(spec: ModelSpec, *, dtype: torch.dtype = torch.float64, seed: int = 0) -> Decoder:
    """A decoder with weights."""
    made = Decoder(spec, seed=seed)
    initialise(made, spec, seed)
    return made.to(dtype)


def batch(spec: ModelSpec, *, samples: int = BATCH, length: int = LENGTH, step: int = 0) -> Sequences:
    """Random tokens and targets, some of them ignored."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(spec.vocab, (samples, length), generator=generator)
    targets = torch.randint(spec.vocab, (samples, length), generator=generator)
    targets[0, :3] = -100
    return Sequences.of(tokens, targets, step=step)

"""Small decoders with weights, a tokenizer that can be read at a glance, and the plain way to the next logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st

from plait.data.tokenizer import ByteTokenizer, Tokenizer
from plait.inference.model_runner import first_seen
from plait.models.gpt import Decoder
from plait.models.init import initialise
from plait.models.sequences import Sequences
from plait.plans.plan import Plan
from plait.specs.model import ModelSpec
from plait.training.run_directory import RunDirectory
from tests.checkpoint.layouts import one_rank, save_as

GPT2 = ModelSpec(layers=2, hidden=24, heads=4, kv_heads=4, ffn=40, vocab=26, max_positions=12)
LLAMA = replace(
    GPT2, kv_heads=2, positions="rope", norm="rms", activation="swiglu", bias=False, tie_embeddings=False
)  # fmt: skip
BYTES = replace(LLAMA, vocab=256)
BLOCKS, LOGITS = 10.0, 40.0  # how much larger than first weights: what blocks add, and how far logits are apart


@dataclass(frozen=True)
class Letters:
    """One token a letter from a to z; everything else is a z."""

    vocab: int = 26

    def encode(self, text: str) -> list[int]:
        return [min(max(ord(letter) - ord("a"), 0), 25) for letter in text]

    def encode_all(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([token for text in texts for token in self.encode(text)], dtype=np.uint16)

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(chr(ord("a") + token) for token in tokens)

    def save(self, path: Path) -> None:
        raise AssertionError("nobody saves these")


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    """Any small decoder; dropout is for training."""
    kv_heads = draw(st.integers(1, 2))
    heads = kv_heads * draw(st.integers(1, 3))
    return ModelSpec(
        layers=draw(st.integers(1, 2)),
        hidden=heads * draw(st.sampled_from([2, 4])),
        heads=heads,
        kv_heads=kv_heads,
        ffn=7,
        vocab=draw(st.integers(2, 9)),
        max_positions=draw(st.integers(1, 9)),
        positions=draw(st.sampled_from(["learned", "rope"])),
        norm=draw(st.sampled_from(["layer", "rms"])),
        activation=draw(st.sampled_from(["gelu", "swiglu"])),
        bias=draw(st.booleans()),
        dropout=draw(st.sampled_from([0.0, 0.5])),
        tie_embeddings=draw(st.booleans()),
    )


def decoder(spec: ModelSpec, *, dtype: torch.dtype = torch.float64) -> Decoder:
    """A decoder that has something to say: its tokens depend on the ones before, and differ."""
    made = Decoder(spec)
    initialise(made, spec, 3)
    with torch.no_grad():
        for weight in made.blocks.parameters():
            weight.mul_(BLOCKS if weight.dim() == 2 else 1)
        made.trunk[made.names.final_norm].get_parameter("weight").mul_(LOGITS)
    return made.to(dtype)


@torch.no_grad()
def plain_logits(made: Decoder, known: Sequence[int]) -> torch.Tensor:
    """(vocab,): the logits after `known`, by a forward over all that the model can see of it."""
    seen = list(known[first_seen(len(known), made.spec.max_positions) :])
    was_training = made.training
    made.eval()
    logits = made(Sequences.of(torch.tensor([seen])))[0, -1]
    made.train(was_training)
    return logits


def leave_run(
    path: Path, spec: ModelSpec = BYTES, *, tokenizer: Tokenizer | None = None, plan: Plan | None = None
) -> Decoder:
    """What `plait train` leaves of a model in `path`; returns the model."""
    made = decoder(spec, dtype=torch.float32)
    run = RunDirectory.create(path)
    run.write_model(spec)
    (tokenizer or ByteTokenizer()).save(run.tokenizer)
    save_as(plan or one_rank(spec), run.weights, spec, dict(made.named_parameters()))
    return made

"""What a block declares to keep is what the literature counts, where it does the same; tests/models measures it all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.layers.gpt import describe_gpt
from plait.layers.layer import Saved
from plait.specs.model import ModelSpec

GPT = ModelSpec(
    layers=2, hidden=96, heads=6, kv_heads=6, ffn=384, vocab=1000, max_positions=64, positions="learned", dropout=0.1
)
LLAMA = replace(GPT, positions="rope", norm="rms", activation="swiglu", kv_heads=2, dropout=0.0)
SIXTEEN_BIT = {"compute": 2, "wide": 4, "int64": 8, "bool": 1}


def bytes_a_token(entries: list[Saved]) -> int:
    return sum((entry.dim.size if entry.dim else 1) * SIXTEEN_BIT[entry.dtype] for entry in entries)


def test_a_block_of_gpt_keeps_what_korthikanti_et_al_count() -> None:
    """34·h a token and 5·a·s (Korthikanti et al., 2022), plus the four numbers of two norms, which they leave out, and
    two bytes more for each probability, as the softmax is kept wide here."""
    saved = [entry for entry in describe_gpt(GPT)[1].saved if not entry.shared]
    assert bytes_a_token([entry for entry in saved if not entry.squared]) == 34 * GPT.hidden + 4 * 4
    assert bytes_a_token([entry for entry in saved if entry.squared]) == (5 + 2) * GPT.heads


def test_without_dropout_nothing_grows_with_the_square_of_the_sequence() -> None:
    for spec in (replace(GPT, dropout=0.0), LLAMA):
        assert not any(entry.squared or entry.dtype == "bool" for layer in describe_gpt(spec) for entry in layer.saved)


def test_a_block_of_llama_keeps_keys_and_values_of_its_kv_heads_alone() -> None:
    sizes = {entry.name: entry.dim.size for entry in describe_gpt(LLAMA)[1].saved if entry.dim}
    assert (sizes["q"], sizes["k"], sizes["v"], sizes["attended"]) == (96, 32, 32, 96)
    assert (sizes["gate"], sizes["up"], sizes["gated"], sizes["log-sum-exp"]) == (384, 384, 384, 6)


def test_what_is_split_is_split_by_heads_ffn_or_vocabulary() -> None:
    for spec in (GPT, LLAMA):
        for layer in describe_gpt(spec):
            for entry in layer.saved:
                indices = {part.index for part in entry.dim.parts} if entry.dim else set()
                assert (entry.lives == "split") == bool(indices & {"heads", "kv_heads", "ffn", "vocab"}), entry.name


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("spec", [GPT, LLAMA], ids=["gpt", "llama"])
def test_names_are_distinct_within_a_layer(spec: ModelSpec, dropout: float) -> None:
    for layer in describe_gpt(replace(spec, dropout=dropout)):
        names = [entry.name for entry in layer.saved]
        assert len(names) == len(set(names))

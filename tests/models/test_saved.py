"""What layers declare to keep for backward is what autograd keeps, to the byte: measured on the real model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.layers.gpt import describe_gpt
from plait.layers.layer import Saved
from plait.models.sequences import Sequences
from plait.specs.model import ModelSpec
from tests.models.shapes import GPT2, GROUPED, LLAMA, decoder, specs

SAMPLES, LENGTH = 3, 7
BYTES = {
    torch.float32: {"compute": 4, "wide": 4, "int64": 8, "bool": 1},
    torch.float64: {"compute": 8, "wide": 8, "int64": 8, "bool": 1},
    torch.bfloat16: {"compute": 2, "wide": 4, "int64": 8, "bool": 1},
}


def declared(entries: Iterable[Saved], dtype: torch.dtype) -> int:
    """Bytes on one rank, in one microbatch."""
    shared, total = {}, 0
    for entry in entries:
        features = entry.dim.size if entry.dim else 1
        size = features * LENGTH * (LENGTH if entry.squared else 1) * BYTES[dtype][entry.dtype]
        if entry.shared:
            shared[entry.name] = size
        else:
            total += size * SAMPLES
    return total + sum(shared.values())


def measured(spec: ModelSpec, dtype: torch.dtype) -> dict[str, int]:
    """Bytes of distinct storages kept, by the layer that gave them: weights and single numbers apart."""
    made = decoder(spec, dtype=dtype)
    tokens = torch.zeros(SAMPLES, LENGTH, dtype=torch.int64)
    sequences, hidden = Sequences.of(tokens, tokens.clone()), None
    weights = {parameter.untyped_storage().data_ptr() for parameter in made.parameters()}
    kept: dict[int, torch.Tensor] = {}  # holds them, so that no address is used twice
    found: dict[str, int] = defaultdict(int)
    outputs: dict[int, str] = {}
    name = ""

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if tensor.dim() and storage.data_ptr() not in weights | kept.keys():
            kept[storage.data_ptr()] = tensor
            found[outputs.get(storage.data_ptr(), name)] += storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        for name, layer in made.layers():
            hidden = layer(hidden, sequences)
            outputs[hidden.untyped_storage().data_ptr()] = name
    return dict(found)


SPECS = {
    "gpt2": GPT2,
    "gpt2 with grouped heads": replace(GPT2, kv_heads=2),
    "gpt2 with relu": replace(GPT2, activation="relu"),
    "llama": LLAMA,
    "llama grouped": GROUPED,
}


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_declared_is_measured(spec: ModelSpec, dtype: torch.dtype, dropout: float) -> None:
    spec = replace(spec, dropout=dropout)
    found = measured(spec, dtype)
    layers = describe_gpt(spec)
    assert sum(found.values()) == declared((entry for layer in layers for entry in layer.saved), dtype)
    for layer in (layers[0], layers[1], layers[-1]):  # the second block finds what is shared already there
        assert found[layer.name] == declared(layer.saved, dtype), layer.name


@given(spec=specs(), dropout=st.sampled_from([0.0, 0.1]))
@settings(max_examples=20)
def test_declared_is_measured_for_any_options(spec: ModelSpec, dropout: float) -> None:
    spec = replace(spec, dropout=dropout, max_positions=LENGTH)
    saved = (entry for layer in describe_gpt(spec) for entry in layer.saved)
    assert sum(measured(spec, torch.float32).values()) == declared(saved, torch.float32)


def test_in_bfloat16_only_a_layer_norms_numbers_differ() -> None:
    # torch's LayerNorm keeps its mean and scale in bfloat16 on CPUs, in float32 elsewhere
    for spec, narrow in ((GROUPED, 0), (GPT2, 2 * 5)):
        saved = [entry for layer in describe_gpt(spec) for entry in layer.saved]
        expected = declared(saved, torch.bfloat16) - narrow * 2 * SAMPLES * LENGTH
        assert sum(measured(spec, torch.bfloat16).values()) == expected

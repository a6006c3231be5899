"""Named models are the published ones: their numbers of parameters are as announced."""

import pytest

from plait.layers.gpt import describe_gpt
from plait.specs.files import job_from_table
from plait.specs.presets import PRESETS

# in millions, as published; learned positions are counted for 1024 (GPT-2) or 2048 (GPT-3) places
PUBLISHED = {
    "gpt2": (124.44, 1024), "gpt2-medium": (354.8, 1024), "gpt2-large": (774.0, 1024), "gpt2-xl": (1557.6, 1024),
    "gpt3-6.7b": (6700, 2048), "gpt3-13b": (13000, 2048), "gpt3-175b": (175000, 2048),
    "llama2-7b": (6738.4, 8), "llama2-13b": (13015.9, 8), "llama2-70b": (68976.6, 8),
    "llama3-8b": (8030.3, 8), "llama3-70b": (70553.7, 8), "llama3-405b": (405853.4, 8),
}  # fmt: skip
ROUNDED = {"gpt3-6.7b", "gpt3-13b", "gpt3-175b"}  # their paper gives two or three digits


def parameters(name: str, places: int) -> int:
    job = job_from_table({"model": {"name": name}, "training": {"sequence_length": places}})
    weights = {weight.name: weight for layer in describe_gpt(job.model) for weight in layer.weights}
    total = 0
    for weight in weights.values():
        size = 1
        for length in weight.shape:
            size *= length
        total += size
    return total


def test_every_preset_is_tried():
    assert set(PUBLISHED) == set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_it_has_the_published_number_of_parameters(name):
    published, places = PUBLISHED[name]
    tolerance = 0.02 if name in ROUNDED else 1e-4
    assert parameters(name, places) == pytest.approx(published * 1e6, rel=tolerance)


def test_keys_override_the_named_shape():
    model = job_from_table({"model": {"name": "llama3-8b", "layers": 2, "vocab": 300}}).model
    assert (model.layers, model.vocab, model.kv_heads, model.positions) == (2, 300, 8, "rope")

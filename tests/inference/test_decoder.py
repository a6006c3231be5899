"""A decoder around weights that are there: the same tensors, ready to answer."""

from __future__ import annotations

import pytest
import torch

from plait.inference.decoder import decoder_around
from tests.inference.models import GPT2, LLAMA, decoder, plain_logits


@pytest.mark.parametrize("spec", [GPT2, LLAMA], ids=["tied", "untied"])
def test_it_is_the_same_model_on_the_same_tensors(spec) -> None:
    original = decoder(spec)
    made = decoder_around(spec, dict(original.named_parameters()))
    for name, weight in original.named_parameters():
        assert made.get_parameter(name).data_ptr() == weight.data_ptr()
    assert torch.equal(plain_logits(made, [1, 2, 3]), plain_logits(original, [1, 2, 3]))
    with torch.no_grad():
        next(original.parameters()).mul_(2)  # what the original learns
    assert torch.equal(plain_logits(made, [1, 2, 3]), plain_logits(original, [1, 2, 3]))


def test_it_answers_and_does_not_learn() -> None:
    original = decoder(GPT2)
    made = decoder_around(GPT2, dict(original.named_parameters()))
    assert not made.training
    assert not any(weight.requires_grad for weight in made.parameters())
    assert all(weight.requires_grad for weight in original.parameters())


def test_a_weight_that_is_missing_is_missed() -> None:
    weights = dict(decoder(LLAMA).named_parameters())
    del weights["model.norm.weight"]
    with pytest.raises(KeyError, match=r"model\.norm\.weight"):
        decoder_around(LLAMA, weights)

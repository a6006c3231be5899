"""A decoder around weights that are there already: nothing is allocated, nothing is copied.

Loading builds one from saved tensors; a runner builds one from another decoder, so that it can fill slots of its own
while the other goes on learning.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from plait.layers.gpt import describe_gpt
from plait.models.gpt import Decoder
from plait.specs.model import ModelSpec

__all__ = ["decoder_around"]


def decoder_around(spec: ModelSpec, weights: Mapping[str, torch.Tensor]) -> Decoder:
    """A whole decoder, ready to answer, whose weights are the given ones by name; a tied one stands in both places."""
    with torch.device("meta"):
        made = Decoder(spec)
    by_path = {weight.path: weights[weight.name].detach() for layer in describe_gpt(spec) for weight in layer.weights}
    made.load_state_dict(by_path, assign=True)
    return made.eval().requires_grad_(False)

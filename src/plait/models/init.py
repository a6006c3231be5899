"""The first values of a model's weights, whole or slice by slice: drawn by address, they are the same.

Each weight has a stream of its own, keyed by (seed, name); how it begins stands in its description.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from plait.layers.gpt import describe_gpt
from plait.layers.layer import Layer, Weight
from plait.random.normal import normal_box
from plait.random.words import stream_key
from plait.specs.model import ModelSpec

__all__ = ["fill", "first_values", "initialise"]

_Box = tuple[tuple[int, int], ...]


def initialise(module: nn.Module, spec: ModelSpec, seed: int) -> None:
    """Fill the weights of `module`, which has them under their published names (a `Decoder`, or the original).

    A module that keeps only some layers gets the weights of those. A tied weight is drawn once, by its one name.
    """
    fill(module, describe_gpt(spec), seed)


@torch.no_grad()
def fill(module: nn.Module, layers: Sequence[Layer], seed: int) -> None:
    """The same for the weights that `layers` describe."""
    parameters = dict(module.named_parameters())
    for layer in layers:
        for weight in layer.weights:
            if weight.path in parameters:
                parameters[weight.path].copy_(first_values(weight, seed, parameters[weight.path].dtype))


def first_values(weight: Weight, seed: int, dtype: torch.dtype, box: _Box | None = None) -> torch.Tensor:
    """A weight as it begins, or one box of it (an interval a dim), on the CPU. Any box equals that box of the whole."""
    box = tuple((0, size) for size in weight.shape) if box is None else box
    shape = [stop - start for start, stop in box]
    match weight.init.kind:
        case "zeros":
            return torch.zeros(shape, dtype=dtype)
        case "ones":
            return torch.ones(shape, dtype=dtype)
        case "normal":
            return normal_box(stream_key(seed, weight.name), weight.shape, box, std=weight.init.std, dtype=dtype)

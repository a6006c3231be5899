"""A model is data before it is a network: list its layers, and see which slice of a weight each rank would hold.

python examples/01_describe.py
"""

from __future__ import annotations

from math import prod
from pathlib import Path

import plait
from plait.layers.gpt import describe_gpt
from plait.plans.completion import complete
from plait.plans.holdings import held_weights


def main() -> None:
    """Print the layers of the demo's model, and one weight on two tensor ranks."""
    job = plait.load(Path(__file__).parent / "demo.toml")
    layers = describe_gpt(job.model)
    for layer in layers:
        size = sum(prod(weight.shape) for weight in layer.weights)
        print(f"{layer.name:10} {' + '.join(layer.needs)} -> {', '.join(layer.gives):8} {size:>9,} weights")

    plan = complete(job, data=1, tensor=2, pipeline=1)
    name = "model.layers.0.self_attn.q_proj.weight"
    for rank in range(2):
        held = {one.weight.name: one for one in held_weights(layers, plan, rank)}[name]
        print(f"tensor rank {rank} holds {held.shape} of {name}: {held.intervals}")


if __name__ == "__main__":
    main()

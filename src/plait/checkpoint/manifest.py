"""The manifest: which box of which tensor lies in which file. Whoever reads it needs no plan.

    transformer.wte.weight (1003, 120)     rows    0 to  502   rank-0.safetensors   transformer.wte.weight@0
                                           rows  502 to 1003   rank-1.safetensors   transformer.wte.weight@0

A manifest is a pure function of model and plan: no rank has to be asked what it will write.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from plait.errors import UnusableInput
from plait.layers.layer import Layer
from plait.plans.holdings import Box, held_weights, owned_boxes, stage_layers, tied_stages
from plait.plans.plan import Plan

__all__ = ["MANIFEST", "Manifest", "Stored", "plan_manifest", "read_manifest", "stored_boxes"]

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One box: elements [start, stop) of `dim` of tensor `name`, under `key` in `file`."""

    name: str
    dim: int
    start: int
    stop: int
    file: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """`shapes` and `dtype` of the global tensors, the boxes that fill them, and how many steps had been taken."""

    step: int
    dtype: str
    shapes: dict[str, tuple[int, ...]]
    boxes: tuple[Stored, ...]

    def write(self, directory: Path) -> None:
        """Put the manifest in its place in one move: a directory with a manifest is complete."""
        partial = directory / f"{MANIFEST}.partial"
        partial.write_text(json.dumps(asdict(self), indent=1))
        partial.replace(directory / MANIFEST)


def stored_boxes(layers: Sequence[Layer], plan: Plan, rank: int) -> tuple[tuple[Box, Stored], ...]:
    """What `rank` writes: the boxes that it owns, with their places. Only the first data rank and stage write."""
    mesh = plan.mesh
    if mesh.coordinate(rank, "data") > 0:
        return ()
    stage, tensor_rank = mesh.coordinate(rank, "pipeline"), mesh.coordinate(rank, "tensor")
    tied = tied_stages(layers, plan)
    file = f"rank-{rank}.safetensors"
    found: list[tuple[Box, Stored]] = []
    for held in held_weights(stage_layers(layers, plan.stages)[stage], plan, tensor_rank):
        name = held.weight.name
        if tied.get(name, (stage,))[0] != stage:
            continue
        for number, box in enumerate(owned_boxes(held, plan, tensor_rank)):
            start, stop = box.whole
            place = Stored(name=name, dim=box.dim, start=start, stop=stop, file=file, key=f"{name}@{number}")
            found.append((box, place))
    return tuple(found)


def plan_manifest(layers: Sequence[Layer], plan: Plan, *, step: int, dtype: str) -> Manifest:
    """The manifest of everything that all ranks of `plan` write together."""
    boxes = [place for rank in range(plan.ranks) for _, place in stored_boxes(layers, plan, rank)]
    shapes = {weight.name: weight.shape for layer in layers for weight in layer.weights}
    return Manifest(step=step, dtype=dtype, shapes=shapes, boxes=tuple(boxes))


def read_manifest(directory: Path) -> Manifest:
    """The manifest in `directory`. Raises UnusableInput where there is none, or where it can't be one."""
    path = directory / MANIFEST
    try:
        return TypeAdapter(Manifest).validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UnusableInput(f"{path}: not there, so that the weights are missing or were not saved whole") from None
    except (ValidationError, OSError) as error:
        raise UnusableInput(f"{path}: not a manifest of saved weights: {error}") from error

"""The manifest: which box of which tensor lies in which file. Whoever reads it needs no plan.

    weights/ manifest.json ─────► step-200/ rank-0.safetensors    transformer.wte.weight@0    [0:502, 0:120]
                                            rank-1.safetensors    transformer.wte.weight@0    [502:1003, 0:120]

A manifest is a pure function of model and plan: no rank has to be asked what it will write. It names the folder of one
save, and goes to its place in one move: either the older weights are the saved ones, whole, or the newer ones are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from plait.checkpoint.families import WEIGHTS, Family
from plait.checkpoint.tiling import Region, tiling_fault
from plait.errors import UnusableInput
from plait.layers.layer import Layer
from plait.plans.compression import matrix
from plait.plans.holdings import Box, Held, owned_boxes, rank_weights, tied_places
from plait.plans.keeping import kept_weights
from plait.plans.plan import Plan

__all__ = [
    "FOLDER",
    "MANIFEST",
    "DtypeName",
    "Manifest",
    "Stored",
    "parse_manifest",
    "plan_manifest",
    "read_manifest",
    "slice_box",
    "stored_boxes",
]

MANIFEST = "manifest.json"
FOLDER = re.compile(r"step-\d+(-2)?")  # the second name is for saving again what is saved already
_FILE = re.compile(rf"{FOLDER.pattern}/rank-\d+\.safetensors")

_Size = Annotated[int, Field(ge=0, le=2**63 - 1)]
DtypeName = Literal["float64", "float32", "float16", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One box of tensor `name`, an interval a dim, under `key` in `file` (a path within the directory)."""

    name: str
    box: tuple[tuple[_Size, _Size], ...]
    file: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """`shapes` and `dtype` of the global tensors, the boxes that fill them, and how many steps had been taken."""

    format: Literal[1] = 1
    step: _Size
    dtype: DtypeName
    shapes: dict[str, tuple[_Size, ...]]
    boxes: tuple[Stored, ...]

    def text(self) -> str:
        """As JSON, one line a box."""
        head = {"format": self.format, "step": self.step, "dtype": self.dtype, "shapes": self.shapes}
        boxes = ",\n  ".join(json.dumps(asdict(box)) for box in self.boxes)
        return f'{json.dumps(head)[:-1]},\n "boxes": [\n  {boxes}\n]}}\n'


_MANIFEST = TypeAdapter(Manifest)


def stored_boxes(
    layers: Sequence[Layer], plan: Plan, rank: int, folder: str, family: Family = WEIGHTS
) -> tuple[tuple[Box, Stored], ...]:
    """What `rank` writes of a family: the boxes that it owns, with their places. Only the first rank of a tied weight
    writes it, and of several data ranks that keep the same, the first."""
    mesh = plan.mesh
    data_rank = mesh.coordinate(rank, "data")
    if data_rank > 0 and plan.sharding_level == 0 and family.whose != "replica":
        return ()
    pipeline_rank, tensor_rank = mesh.coordinate(rank, "pipeline"), mesh.coordinate(rank, "tensor")
    tied = tied_places(layers, plan)
    file = f"{folder}/rank-{rank}.safetensors"
    found: list[tuple[Box, Stored]] = []
    held_here = rank_weights(layers, plan, pipeline_rank, tensor_rank)
    for held in kept_weights(held_here, plan, data_rank):
        if tied.get(held.weight.name, (pipeline_rank,))[0] != pipeline_rank or not family.has(held.weight.name):
            continue
        name = family.name(held.weight.name, replica=data_rank, tensor_rank=tensor_rank)
        boxes = [slice_box(held, family)] if family.whose == "slice" else owned_boxes(held, plan, tensor_rank)
        for number, box in enumerate(boxes):
            found.append((box, Stored(name=name, box=box.whole, file=file, key=f"{name}@{number}")))
    return tuple(found)


def slice_box(held: Held, family: Family) -> Box:
    """All of what belongs to the slice that a rank holds of a weight: a row for each of its columns, as a matrix."""
    whole = ((0, matrix(held.shape)[1]), (0, family.columns))
    return Box(name=held.weight.name, local=whole, whole=whole)


def plan_manifest(
    layers: Sequence[Layer],
    plan: Plan,
    *,
    step: int,
    dtype: DtypeName,
    folder: str,
    families: Sequence[Family] = (WEIGHTS,),
) -> Manifest:
    """The manifest of everything that all ranks of `plan` write together into `folder`."""
    places = [
        (family, box, place)
        for rank in range(plan.ranks)
        for family in families
        for box, place in stored_boxes(layers, plan, rank, folder, family)
    ]
    weights = {weight.name: weight.shape for layer in layers for weight in layer.weights}
    shapes = dict(weights)  # also of those of which nobody holds an element
    for family, box, place in places:
        sliced = family.whose == "slice"
        shapes[place.name] = tuple(stop for _, stop in box.whole) if sliced else weights[box.name]
    return Manifest(step=step, dtype=dtype, shapes=shapes, boxes=tuple(place for _, _, place in places))


def read_manifest(directory: Path) -> Manifest:
    """The manifest in `directory`. Raises UnusableInput where there is none, or where it can't be one."""
    path = directory / MANIFEST
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise UnusableInput(f"{path}: not there, so that the weights are missing or were not saved whole") from None
    except OSError as error:
        raise UnusableInput(f"{path}: can't be read: {error.strerror or error}") from error
    try:
        return parse_manifest(content)
    except ValueError as error:
        raise UnusableInput(f"{path}: not a manifest of saved weights: {error}") from error


def parse_manifest(content: bytes | str) -> Manifest:
    """The manifest that a text is; raises ValueError where it isn't one, or where its boxes don't fill its tensors."""
    try:
        manifest = _MANIFEST.validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from None
    by_name: dict[str, list[Region]] = {name: [] for name in manifest.shapes}
    for stored in manifest.boxes:
        if not _FILE.fullmatch(stored.file):
            raise ValueError(f"{stored.file!r} is no file name of saved weights")
        if stored.name not in by_name:
            raise ValueError(f"a box of {stored.name!r}, which has no shape")
        by_name[stored.name].append(stored.box)
    for name, boxes in by_name.items():
        if fault := tiling_fault(manifest.shapes[name], boxes):
            raise ValueError(f"{name}: {fault}")
    return manifest

"""Reading: whole tensors, or the slices that one rank needs, from whatever boxes another plan has left.

    saved by two ranks       |       0       |       1       |
    wanted by one of three              |xxxxxxxxx|              copied where a saved box meets a wanted one

Every header is checked against the manifest before anything is allocated, and every box against its checksum.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch

from plait.checkpoint.families import Family
from plait.checkpoint.manifest import Manifest, Stored, read_manifest
from plait.checkpoint.rank_file import check_boxes, read_boxes
from plait.checkpoint.tiling import Region, meet, sizes
from plait.errors import UnusableInput
from plait.plans.holdings import Held
from plait.sharding.boxes import Interval

__all__ = ["load_like", "load_weights", "load_whole"]

_Wanted = Mapping[str, tuple[tuple[Interval, ...], ...]]  # of each tensor, for each dim, the intervals to read

_ATTEMPTS = 3


def load_weights(directory: Path, held: Iterable[Held], dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
    """The slices that a rank holds of each weight, by name, on the CPU, in `dtype` or as saved.

    Raises UnusableInput for files that are missing, damaged or not what their manifest says, and for weights of other
    names or shapes than those asked for.
    """
    asked = {one.weight.name: one for one in held}

    def slices(manifest: Manifest) -> _Wanted:
        for name, one in asked.items():
            saved = manifest.shapes.get(name)
            if saved is None:
                raise UnusableInput(f"{directory}: holds no {name}: these are another model's weights")
            if saved != one.weight.shape:
                raise UnusableInput(f"{directory}: {name} is {saved}, and the model needs {one.weight.shape}")
        return {name: one.intervals for name, one in asked.items()}

    return _load(directory, slices, dtype)


def load_like(directory: Path, family: Family, held: Iterable[Held], replica: int = 0) -> dict[str, torch.Tensor]:
    """The same slices of each weight's tensor of a family, as saved; `replica`: of the one that wrote them. Weights
    for which the family has nothing are left out. Raises UnusableInput as `load_weights` does."""
    named = {family.name(one.weight.name, replica=replica): one for one in held if family.has(one.weight.name)}
    asked = [replace(one, weight=replace(one.weight, name=name)) for name, one in named.items()]
    return {named[name].weight.name: tensor for name, tensor in load_weights(directory, asked).items()}


def load_whole(
    directory: Path, dtype: torch.dtype | None = None, only: Collection[str] | None = None
) -> dict[str, torch.Tensor]:
    """Every tensor, or `only` those of some names, whole, on the CPU, in `dtype` or as saved. Raises UnusableInput as
    `load_weights` does."""

    def everything(manifest: Manifest) -> _Wanted:
        named = {name: shape for name, shape in manifest.shapes.items() if only is None or name in only}
        return {name: tuple(((0, size),) for size in shape) for name, shape in named.items()}

    return _load(directory, everything, dtype)


def _load(directory: Path, choose: Callable[[Manifest], _Wanted], dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    """Read, and read again where a training run has saved anew meanwhile, and removed what was being read."""
    manifest = read_manifest(directory)
    for _ in range(_ATTEMPTS - 1):
        try:
            return _read(directory, manifest, choose(manifest), dtype)
        except UnusableInput:
            newer = read_manifest(directory)
            if newer == manifest:
                raise
            manifest = newer
    return _read(directory, manifest, choose(manifest), dtype)


def _read(directory: Path, manifest: Manifest, wanted: _Wanted, dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    regions = {name: list(_regions(intervals)) for name, intervals in wanted.items()}
    by_file: dict[str, list[Stored]] = {}
    for stored in manifest.boxes:
        if any(meet(stored.box, region) for region, _ in regions.get(stored.name, ())):
            by_file.setdefault(stored.file, []).append(stored)
    for file, boxes in by_file.items():
        check_boxes(directory, file, boxes, manifest.dtype)

    dtype = dtype or getattr(torch, manifest.dtype)
    found = {name: torch.empty(_local_shape(intervals), dtype=dtype) for name, intervals in wanted.items()}
    for file, boxes in by_file.items():
        for stored, values in read_boxes(directory, file, boxes):
            for region, place in regions[stored.name]:
                _copy(values, stored.box, region, found[stored.name], place)
    return found


def _regions(intervals: tuple[tuple[Interval, ...], ...]) -> Iterator[tuple[Region, Region]]:
    """The wanted boxes of a tensor, each with its place in the local one, where a dim's intervals follow each other."""
    dims: list[list[tuple[Interval, Interval]]] = []
    for pieces in intervals:
        offset, placed = 0, list[tuple[Interval, Interval]]()
        for start, stop in pieces:
            placed.append(((start, stop), (offset, offset + stop - start)))
            offset += stop - start
        dims.append(placed)
    for chosen in product(*dims):
        yield tuple(whole for whole, _ in chosen), tuple(local for _, local in chosen)


def _local_shape(intervals: tuple[tuple[Interval, ...], ...]) -> tuple[int, ...]:
    return tuple(sum(stop - start for start, stop in pieces) for pieces in intervals)


def _copy(values: torch.Tensor, box: Region, region: Region, target: torch.Tensor, place: Region) -> None:
    """Copy what a stored `box` and a wanted `region` share to where the region lies in `target`."""
    shared = meet(box, region)
    if shared is None:
        return
    for dim, (start, _) in enumerate(shared):
        values = values.narrow(dim, start - box[dim][0], sizes(shared)[dim])
        target = target.narrow(dim, place[dim][0] + start - region[dim][0], sizes(shared)[dim])
    target.copy_(values)

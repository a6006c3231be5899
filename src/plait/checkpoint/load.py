"""Reading: whole tensors, or the slices that one rank needs, from whatever boxes another plan has left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from plait.checkpoint.manifest import Manifest, Stored, read_manifest
from plait.errors import UnusableInput
from plait.sharding.boxes import Interval

__all__ = ["load_slices", "load_whole"]

Wanted = Mapping[str, tuple[tuple[Interval, ...], ...]]  # for each tensor, for each dim, the intervals to read


def load_whole(directory: Path) -> dict[str, torch.Tensor]:
    """Every tensor, whole. Raises UnusableInput for a missing or damaged file."""
    manifest = read_manifest(directory)
    everything = {name: tuple(((0, size),) for size in shape) for name, shape in manifest.shapes.items()}
    return load_slices(directory, everything)


def load_slices(directory: Path, wanted: Wanted) -> dict[str, torch.Tensor]:
    """The asked intervals of each tensor, laid one after another along each dim. Raises UnusableInput as above, and
    for a tensor that was never saved."""
    manifest = read_manifest(directory)
    missing = wanted.keys() - manifest.shapes.keys()
    if missing:
        raise UnusableInput(f"{directory}: holds no {', '.join(sorted(missing))}")
    dtype = getattr(torch, manifest.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise UnusableInput(f"{directory}: weights of an unknown dtype {manifest.dtype!r}")
    found: dict[str, torch.Tensor] = {}
    for name, intervals in wanted.items():
        shape = [sum(stop - start for start, stop in pieces) for pieces in intervals]
        found[name] = torch.empty(shape, dtype=dtype)
    _fill(directory, manifest, wanted, found)
    return found


def _fill(directory: Path, manifest: Manifest, wanted: Wanted, found: dict[str, torch.Tensor]) -> None:
    by_file: dict[str, list[Stored]] = {}
    for place in manifest.boxes:
        by_file.setdefault(place.file, []).append(place)
    filled = dict.fromkeys(wanted, 0)
    for file, places in by_file.items():
        try:
            with safe_open(directory / Path(file).name, framework="pt") as source:
                for place in places:
                    if place.name in wanted:
                        filled[place.name] += _copy(source.get_tensor(place.key), place, wanted, found)
        except (SafetensorError, OSError, RuntimeError) as error:
            raise UnusableInput(f"{directory / file}: {error}") from error
    for name, count in filled.items():
        if count != found[name].numel():
            raise UnusableInput(f"{directory}: {name} has {count} of {found[name].numel()} elements saved")


def _copy(box: torch.Tensor, place: Stored, wanted: Wanted, found: dict[str, torch.Tensor]) -> int:
    """Copy what is asked of one box; returns how many elements that is."""
    target = found[place.name]
    for dim, pieces in enumerate(wanted[place.name]):
        if dim != place.dim:
            box = torch.cat([box.narrow(dim, start, stop - start) for start, stop in pieces], dim)
    count, offset = 0, 0
    for first, last in wanted[place.name][place.dim]:
        start, stop = max(first, place.start), min(last, place.stop)
        if start < stop:
            source = box.narrow(place.dim, start - place.start, stop - start)
            target.narrow(place.dim, offset + start - first, stop - start).copy_(source)
            count += source.numel()
        offset += last - first
    return count

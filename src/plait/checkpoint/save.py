"""Writing: each rank its own boxes to its own file, then, when all are down, one rank the manifest.

    older save   ════════════════════ whole ═══════════════════════════╗ removed
    this save      rank 0 writes ─────┐ all
                   rank 1 writes ───┐ │ down
                                    └─┴──────► manifest.json moves ═════╩═════ whole ═══════►

A crash at any moment leaves the older weights or the newer ones, whole; what an unfinished save left behind is removed
by the next. Ranks on several hosts need a directory that all of them see.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError

from plait.checkpoint.families import WEIGHTS, Family
from plait.checkpoint.manifest import FOLDER, MANIFEST, DtypeName, plan_manifest, read_manifest, stored_boxes
from plait.checkpoint.rank_file import to_disk, write_boxes
from plait.errors import UnusableInput
from plait.layers.layer import Layer
from plait.plans.plan import Plan

__all__ = ["save_tensors"]


def save_tensors(
    directory: Path,
    tensors: Mapping[Family, Mapping[str, torch.Tensor]],
    layers: Sequence[Layer],
    plan: Plan,
    rank: int,
    *,
    step: int,
    barrier: Callable[[], object],
) -> None:
    """Save local tensors by family and weight, the weights among them, of each what the rank keeps (`plans.keeping`),
    so that any plan can read them, in place of what `directory` held; every rank calls it, with the same families.

    `barrier` waits for all ranks. Raises UnusableInput where nothing can be written (a full disk): the weights that
    were saved before are then still whole. Older ones that can't be removed afterwards are only warned of.
    """
    folder = _free_folder(directory, step)  # no rank moves the manifest before all have come to the barrier
    boxes = {
        place.key: local[box.name].detach()[tuple(slice(*interval) for interval in box.local)]
        for family, local in tensors.items()
        for box, place in stored_boxes(layers, plan, rank, folder, family)
    }
    if boxes:
        with _in_words(directory):
            (directory / folder).mkdir(parents=True, exist_ok=True)
            write_boxes(directory / folder / f"rank-{rank}.safetensors", boxes)
    barrier()
    if rank == plan.mesh.rank_at(pipeline=0, data=plan.keepers.start, tensor=0):  # 0, unless it keeps nothing
        dtype = cast(DtypeName, str(next(iter(tensors[WEIGHTS].values())).dtype).removeprefix("torch."))
        manifest = plan_manifest(layers, plan, step=step, dtype=dtype, folder=folder, families=tuple(tensors))
        with _in_words(directory):
            _commit(directory, folder, manifest.text())
        _sweep(directory, folder, {directory / place.file for place in manifest.boxes})
    barrier()  # nobody begins another save while the manifest moves


def _free_folder(directory: Path, step: int) -> str:
    """A name for this save that the saved weights do not live under."""
    try:
        taken = {Path(place.file).parts[0] for place in read_manifest(directory).boxes}
    except UnusableInput:  # nothing is saved there that anybody could read
        taken = set[str]()
    return f"step-{step}" if f"step-{step}" not in taken else f"step-{step}-2"


def _commit(directory: Path, folder: str, text: str) -> None:
    """Make `folder` the saved weights: from one moment to the next, and for good."""
    to_disk(directory / folder)
    partial = directory / f"{MANIFEST}.partial"
    partial.write_text(text, encoding="utf-8")
    to_disk(partial)
    partial.replace(directory / MANIFEST)
    to_disk(directory)


def _sweep(directory: Path, kept: str, files: set[Path]) -> None:
    """Remove older saves and what unfinished ones left. What can't be removed now is left to the next save: the new
    weights are committed, and no run fails for what stands beside them."""
    try:
        for entry in directory.iterdir():
            if FOLDER.fullmatch(entry.name) and entry.name != kept and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
        for file in set((directory / kept).iterdir()) - files:
            if file.is_file():
                file.unlink(missing_ok=True)
    except OSError as error:
        warnings.warn(f"{directory}: the weights are saved, but older ones can't be removed: {error}", stacklevel=3)


@contextmanager
def _in_words(directory: Path) -> Iterator[None]:
    """What keeps a file from being written, said to the user."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise UnusableInput(f"{directory}: the weights can't be saved: {reason}") from error

"""One rank's file: some boxes under their keys, each with its checksum, in the safetensors format.

It believes nothing that it reads: a file must hold the boxes that a manifest promises, in their shapes and dtype, and
each box must have the bytes that it was saved with.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from plait.checkpoint.manifest import DtypeName, Stored
from plait.checkpoint.tiling import sizes
from plait.errors import UnusableInput

__all__ = ["check_boxes", "read_boxes", "to_disk", "write_boxes"]

_SAVED_AS: dict[DtypeName, str] = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def write_boxes(path: Path, boxes: Mapping[str, torch.Tensor]) -> None:
    """Write a file whole, or not at all. Raises OSError or SafetensorError (a full disk)."""
    on_cpu = {key: box.contiguous().cpu() for key, box in boxes.items()}
    path.unlink(missing_ok=True)
    path.touch()
    mode = path.stat().st_mode  # the library makes a file that nobody else may read: the user's umask decides
    save_file(on_cpu, path, metadata={key: _checksum(box) for key, box in on_cpu.items()})
    path.chmod(mode)
    to_disk(path)


def to_disk(path: Path) -> None:
    """Wait until a file's content, or a directory's names, would outlive a power cut. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_boxes(directory: Path, file: str, boxes: Sequence[Stored], dtype: DtypeName) -> None:
    """Raise UnusableInput unless the file holds `boxes` in their shapes, as `dtype`. Reads its header alone."""
    with _open(directory / file) as source:
        for stored in boxes:
            view = source.get_slice(stored.key)
            found = f"{view.get_dtype()} {tuple(view.get_shape())}"
            promised = f"{_SAVED_AS[dtype]} {sizes(stored.box)}"
            if found != promised:
                raise UnusableInput(f"{directory / file}: {stored.key} is {found}; its manifest says {promised}")


def read_boxes(directory: Path, file: str, boxes: Sequence[Stored]) -> Iterator[tuple[Stored, torch.Tensor]]:
    """The boxes of a file with their values. Raises UnusableInput for one that is not as it was saved."""
    with _open(directory / file) as source:
        checksums = source.metadata() or {}
        for stored in boxes:
            box = source.get_tensor(stored.key)
            if _checksum(box) != checksums.get(stored.key):
                raise UnusableInput(f"{directory / file}: {stored.key} is damaged: its checksum is not the saved one")
            yield stored, box


def _checksum(box: torch.Tensor) -> str:
    """CRC-32 of the bytes of a contiguous tensor: gigabytes a second."""
    return f"{zlib.crc32(box.reshape(-1).view(torch.uint8).numpy().data):08x}"


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as source:
            yield source
    except FileNotFoundError:
        raise UnusableInput(f"{path}: missing, though its manifest names it") from None
    except (SafetensorError, OSError) as error:
        raise UnusableInput(f"{path}: damaged, or no file of saved weights: {error}") from error

"""The tokens of a text, as two flat arrays on disk: one to train on, one to judge by.

It knows documents, a tokenizer and a folder to keep the result in; neither batches nor ranks. The folder is named by
everything the tokens depend on, so that a second run reads them back without training a tokenizer or encoding anything.

    cache/3f9a.../  tokenizer.json  training.npy  validation.npy  sizes.json      complete, or not there at all
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tokenizers

from plait.data.corpus import Document, read_text, split
from plait.data.tokenizer import Tokenizer, load_tokenizer, make_tokenizer
from plait.errors import UnusableInput

__all__ = ["TokenDataset", "TokenPart", "check_dataset", "load_tokens", "prepare_tokens", "tokens_digest"]

_FORMAT = "plait tokens 1"


@dataclass(frozen=True, kw_only=True)
class TokenPart:
    """One part of a text: its tokens (flat, uint16 or uint32, read only), and how many bytes of text they stand for."""

    tokens: npt.NDArray[np.integer]
    text_bytes: int

    @property
    def bytes_per_token(self) -> float:
        """Bits per byte are bits per token divided by this."""
        return self.text_bytes / len(self.tokens)


@dataclass(frozen=True, kw_only=True)
class TokenDataset:
    """A text, tokenized and kept in `folder`: the tokenizer, and the two parts, which never overlap."""

    folder: Path
    tokenizer: Tokenizer
    training: TokenPart
    validation: TokenPart


def prepare_tokens(
    *,
    text: str | Sequence[str],
    tokenizer: str,
    validation_fraction: float,
    sequence_length: int,
    vocab: int,
    cache: Path,
) -> TokenDataset:
    """Read, divide and tokenize a text, or take the result from `cache`; any number of processes may do so at once.

    Raises UnusableInput as `read_text`, `make_tokenizer` and `check_dataset` do, and for a full or damaged cache.
    """
    documents = read_text(text)
    folder = cache / _content_key(documents, tokenizer, validation_fraction)
    if not folder.exists():
        try:
            _write(folder, documents, tokenizer, validation_fraction)
        except OSError as error:
            remedy = "free some space there, or name another cache"
            raise UnusableInput(f"the tokens can't be written to {folder} ({error}): {remedy}") from error
    dataset = load_tokens(folder)
    check_dataset(dataset, sequence_length=sequence_length, vocab=vocab)
    return dataset


def check_dataset(dataset: TokenDataset, *, sequence_length: int, vocab: int) -> None:
    """Raise UnusableInput if the model can't take each token, or if a part is shorter than one sequence."""
    if dataset.tokenizer.vocab > vocab:
        raise UnusableInput(
            f"the tokenizer has {dataset.tokenizer.vocab} tokens, the model's vocabulary {vocab}:"
            f" set model.vocab to {dataset.tokenizer.vocab} or more, or use a smaller tokenizer"
        )
    for name, part in (("training", dataset.training), ("validation", dataset.validation)):
        count = len(part.tokens)
        if count <= sequence_length:  # the last token is only ever a target
            shorter = f"a training.sequence_length of at most {count - 1}, or " if count > 1 else ""
            larger = ", or a larger data.validation_fraction" if name == "validation" else ""
            raise UnusableInput(
                f"the {name} part of the text has {count} tokens ({part.text_bytes} bytes); one sequence of"
                f" {sequence_length} needs {sequence_length + 1}: use {shorter}a longer text{larger}"
            )


def _content_key(documents: Sequence[Document], tokenizer: str, validation_fraction: float) -> str:
    """A name for everything the tokens depend on."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([_FORMAT, tokenizers.__version__, tokenizer, validation_fraction]).encode())
    file = Path(tokenizer).expanduser()
    if file.is_file():
        digest.update(file.read_bytes())
    for document in documents:
        digest.update(len(document.content).to_bytes(8, "little"))
        digest.update(document.content)
    return digest.hexdigest()


def _write(folder: Path, documents: Sequence[Document], name: str, validation_fraction: float) -> None:
    """Fill a folder beside `folder`, then give it its name: it is seen complete, or not at all."""
    training, validation = split(documents, validation_fraction)
    tokenizer = make_tokenizer(name, [document.content.decode() for document in training])
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix="draft-", dir=folder.parent))
    try:
        tokenizer.save(draft / "tokenizer.json")
        sizes: dict[str, int] = {}
        for part, content in (("training", training), ("validation", validation)):
            np.save(draft / f"{part}.npy", tokenizer.encode_all([document.content.decode() for document in content]))
            sizes[part] = sum(len(document.content) for document in content)
        (draft / "sizes.json").write_text(json.dumps(sizes))
        _give_name(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _give_name(draft: Path, folder: Path) -> None:
    try:
        os.rename(draft, folder)
    except OSError:
        if not folder.exists():  # else another process was faster, with the same content
            raise


def load_tokens(folder: Path) -> TokenDataset:
    """What `prepare_tokens` keeps in a folder. Raises UnusableInput where that is damaged, or can't be read."""
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    try:
        sizes = json.loads((folder / "sizes.json").read_text())
        training, validation = (
            TokenPart(tokens=_mapped(folder / f"{part}.npy"), text_bytes=sizes[part])
            for part in ("training", "validation")
        )
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise UnusableInput(f"the tokens kept in {folder} are damaged ({error}): remove that folder") from error
    except OSError as error:  # too many open files, no right to: nothing is wrong with the folder
        raise UnusableInput(f"the tokens kept in {folder} can't be read: {error.strerror or error}") from error
    return TokenDataset(folder=folder, tokenizer=tokenizer, training=training, validation=validation)


def tokens_digest(dataset: TokenDataset) -> str:
    """A number, in hexadecimal digits, that two hosts have in common if their tokens and their tokenizers are equal."""
    digest = hashlib.blake2b(digest_size=16)
    for name in ("tokenizer.json", "training.npy", "validation.npy", "sizes.json"):
        with (dataset.folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def _mapped(path: Path) -> npt.NDArray[np.integer]:
    """The array of a file, read from disk where it is touched."""
    return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)

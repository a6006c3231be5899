"""Text to tokens and back: bytes, a byte-level BPE trained on the text, or a tokenizer file.

It knows strings and numbers, and no files of text, datasets or models. For `bytes` and `bpe:N`, any string comes back
as it was: `decode(encode(text)) == text`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers, trainers

from plait.errors import UnusableInput

__all__ = ["ByteTokenizer", "LibraryTokenizer", "Tokenizer", "load_tokenizer", "make_tokenizer", "token_dtype"]

_BYTES = {"tokenizer": "bytes"}  # the whole file of a ByteTokenizer
_PIECE = 1 << 16  # characters that are encoded as one
_BATCH = 1 << 20  # characters that are encoded at once: about 50 MB of the library's own records
_BREAK = re.compile(r"(?<=\S)(?=\n)")  # where the pattern of byte-level BPE always ends a word


class Tokenizer(Protocol):
    """What every tokenizer can do. `vocab` is the number of tokens: each token is in [0, vocab)."""

    @property
    def vocab(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """The tokens of one text."""
        ...

    def encode_all(self, texts: Sequence[str]) -> npt.NDArray[np.integer]:
        """The tokens of all texts, one after another, as one flat array of `token_dtype(vocab)`."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of the tokens; a character cut in two becomes U+FFFD."""
        ...

    def save(self, path: Path) -> None:
        """Write one JSON file that `load_tokenizer` reads."""
        ...


def make_tokenizer(name: str, texts: Sequence[str]) -> Tokenizer:
    """The tokenizer that a job names: "bytes", "bpe:N" (trained on `texts`, exactly N tokens), or a tokenizer file.

    Raises UnusableInput if N is no number of at least 256, if the texts don't allow N tokens, or for an unusable file.
    """
    if name == "bytes":
        return ByteTokenizer()
    if name.startswith("bpe:"):
        return _train(name, texts)
    return load_tokenizer(Path(name).expanduser())


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a file that `save` wrote, or a `tokenizer.json` of the `tokenizers` library. Raises UnusableInput."""
    try:
        content = path.read_text(encoding="utf-8")
        description = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        remedy = 'name a tokenizer.json, or use "bytes" or "bpe:N"'
        raise UnusableInput(f"the tokenizer file {path} can't be read ({error}): {remedy}") from error
    if description == _BYTES:
        return ByteTokenizer()
    try:
        library = Library.from_str(content)
    except Exception as error:  # the library raises nothing narrower
        raise UnusableInput(f"{path} is no tokenizer file of the `tokenizers` library: {error}") from error
    if not library.get_vocab(with_added_tokens=True):
        raise UnusableInput(f"{path} is a tokenizer file without a token")
    library.no_truncation()
    library.no_padding()
    return LibraryTokenizer(library=library)


def token_dtype(vocab: int) -> type[np.uint16] | type[np.uint32]:
    """The smallest type that holds each token of a vocabulary."""
    return np.uint16 if vocab <= 1 << 16 else np.uint32


@dataclass(frozen=True, kw_only=True)
class ByteTokenizer:
    """One token a byte of UTF-8."""

    @property
    def vocab(self) -> int:
        return 256

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def encode_all(self, texts: Sequence[str]) -> npt.NDArray[np.integer]:
        return np.frombuffer("".join(texts).encode(), dtype=np.uint8).astype(token_dtype(self.vocab))

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode(errors="replace")

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(_BYTES), encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class LibraryTokenizer:
    """A tokenizer of the `tokenizers` library. Its special tokens are never added."""

    library: Library

    @property
    def vocab(self) -> int:
        return max(self.library.get_vocab(with_added_tokens=True).values()) + 1

    def encode(self, text: str) -> list[int]:
        return self.library.encode(text, add_special_tokens=False).ids

    def encode_all(self, texts: Sequence[str]) -> npt.NDArray[np.integer]:
        dtype = token_dtype(self.vocab)
        parts = [np.zeros(0, dtype=dtype)]
        for batch in _batches(texts):
            encodings = self.library.encode_batch(batch, add_special_tokens=False)
            parts += [np.array(encoding.ids, dtype=dtype) for encoding in encodings]
        return np.concatenate(parts)

    def decode(self, tokens: Sequence[int]) -> str:
        return self.library.decode(list(tokens), skip_special_tokens=False)

    def save(self, path: Path) -> None:
        path.write_text(self.library.to_str(), encoding="utf-8")


def _train(name: str, texts: Sequence[str]) -> Tokenizer:
    """Byte-level BPE (Sennrich et al., 2016; bytes as in GPT-2): 256 bytes, then the most frequent pairs, merged."""
    count = name.removeprefix("bpe:")
    if not (count.isascii() and count.isdigit() and int(count) >= 256):
        raise UnusableInput(f"tokenizer = {name!r}: N of bpe:N counts tokens, at least 256 (one for each byte)")
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=int(count), min_frequency=2, initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator((piece for text in texts for piece in _pieces(text)), trainer)
    found = library.get_vocab_size()
    if found != int(count):
        remedy = f'use tokenizer = "bpe:{found}" or smaller, or a longer text'
        raise UnusableInput(f"tokenizer = {name!r}: the training text has pairs for {found} tokens only: {remedy}")
    return LibraryTokenizer(library=library)


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """The pieces of all texts, in lists of about _BATCH characters."""
    batch: list[str] = []
    size = 0
    for text in texts:
        for piece in _pieces(text):
            batch.append(piece)
            size += len(piece)
            if size >= _BATCH:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _pieces(text: str) -> Iterator[str]:
    """Cut a long text between lines, where it makes no difference to its byte-level BPE."""
    start = 0
    while len(text) - start > _PIECE:
        found = _BREAK.search(text, start + _PIECE)
        if found is None:
            break
        yield text[start : found.start()]
        start = found.start()
    if start < len(text):
        yield text[start:]

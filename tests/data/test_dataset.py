"""Datasets: the tokens of exactly the text, kept and found again, whole or not at all; too short a text is refused."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plait.data import dataset as module
from plait.data.corpus import read_text, split
from plait.data.dataset import TokenDataset, prepare_tokens, tokens_digest
from plait.errors import UnusableInput

LINES = [f"def function_{number}(x):\n    return x + {number}\n" for number in range(300)]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    for number in range(6):
        (tmp_path / f"{number}.py").write_text("".join(LINES[number * 50 : number * 50 + 50]))
    return tmp_path


def prepare(folder: Path, **changes: Any) -> TokenDataset:
    arguments: dict[str, Any] = {
        "text": str(folder / "*.py"),
        "tokenizer": "bpe:300",
        "validation_fraction": 0.1,
        "sequence_length": 16,
        "vocab": 300,
        "cache": folder / "cache",
    }
    return prepare_tokens(**(arguments | changes))


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe:300"])
def test_the_parts_are_the_tokens_of_the_divided_text(text: Path, tokenizer: str) -> None:
    dataset = prepare(text, tokenizer=tokenizer)
    parts = split(read_text(str(text / "*.py")), 0.1)
    for part, documents in zip((dataset.training, dataset.validation), parts, strict=True):
        content = b"".join(document.content for document in documents)
        assert dataset.tokenizer.decode(part.tokens.tolist()).encode() == content
        assert part.text_bytes == len(content)
        assert part.bytes_per_token == len(content) / len(part.tokens)
        assert part.tokens.dtype == np.uint16
        assert not part.tokens.flags.writeable


def test_the_tokenizer_is_trained_on_the_training_part_only(text: Path) -> None:
    _, validation = split(read_text(str(text / "*.py")), 0.1)
    path = Path(validation[-1].name)
    original = prepare(text)
    path.write_bytes(path.read_bytes()[:-40] + b"z" * 40)  # the end of the text: always held out
    assert prepare(text).tokenizer.encode("function zzzz") == original.tokenizer.encode("function zzzz")
    assert not np.array_equal(prepare(text).validation.tokens, original.validation.tokens)


def test_a_second_run_neither_trains_nor_encodes(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(text)
    monkeypatch.setattr(module, "make_tokenizer", None)
    second = prepare(text)
    assert np.array_equal(first.training.tokens, second.training.tokens)
    assert second.validation.text_bytes == first.validation.text_bytes
    assert second.tokenizer.encode("return x") == first.tokenizer.encode("return x")
    assert isinstance(second.training.tokens.base, np.memmap)


def test_what_the_tokens_depend_on_names_the_folder(text: Path) -> None:
    prepare(text)
    prepare(text, tokenizer="bpe:280")
    prepare(text, validation_fraction=0.2)
    prepare(text, sequence_length=8, vocab=1000)  # the same tokens as the first
    tokenizer = text / "tokenizer.json"
    for count in (270, 290):
        prepare(text, tokenizer=f"bpe:{count}").tokenizer.save(tokenizer)
        assert prepare(text, tokenizer=str(tokenizer)).tokenizer.vocab == count
    (text / "0.py").write_text("x = 1\n" * 100)
    prepare(text)
    assert len(list((text / "cache").iterdir())) == 3 + 4 + 1


def test_a_run_that_fails_leaves_nothing_behind(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UnusableInput, match=r"can't be written .*No space left on device.*: free some space"):
        prepare(text)
    assert list((text / "cache").iterdir()) == []


def test_a_cache_that_can_not_be_made_is_named(text: Path) -> None:
    (text / "file").touch()
    with pytest.raises(UnusableInput, match="can't be written"):
        prepare(text, cache=text / "file")


def test_two_at_once_both_succeed(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_name = module._give_name

    def after_another(draft: Path, folder: Path) -> None:
        monkeypatch.setattr(module, "_give_name", give_name)
        prepare(text)
        give_name(draft, folder)

    monkeypatch.setattr(module, "_give_name", after_another)
    prepare(text)
    assert len(list((text / "cache").iterdir())) == 1


@pytest.mark.parametrize("name", ["training.npy", "sizes.json"])
def test_damaged_tokens_are_named(text: Path, name: str) -> None:
    prepare(text)
    (damaged,) = (text / "cache").glob(f"*/{name}")
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with pytest.raises(UnusableInput, match=r"are damaged .*: remove that folder"):
        prepare(text)


def test_tokens_that_can_t_be_read_are_not_called_damaged(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(text)

    def refuse(path: Path) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))

    monkeypatch.setattr(module, "_mapped", refuse)
    with pytest.raises(UnusableInput, match=r"can't be read: Too many open files$"):
        prepare(text)


def test_a_text_shorter_than_one_sequence_says_what_would_do(text: Path) -> None:
    (text / "short.txt").write_text("a few words\n" * 2)
    with pytest.raises(
        UnusableInput, match=r"training part .* has 24 tokens \(24 bytes\); one sequence of 128 needs 129"
    ):
        prepare(text, text=str(text / "short.txt"), tokenizer="bytes", sequence_length=128)


def test_a_validation_part_shorter_than_one_sequence_says_what_would_do(text: Path) -> None:
    expected = r"validation part .* at most \d+, or a longer text, or a larger data.validation_fraction"
    with pytest.raises(UnusableInput, match=expected):
        prepare(text, tokenizer="bytes", validation_fraction=0.01, sequence_length=200)
    with pytest.raises(UnusableInput, match=r"validation part .* has 0 tokens .*: use a longer text, or a larger"):
        prepare(text, validation_fraction=0.0)


def test_the_length_that_the_message_names_is_accepted(text: Path) -> None:
    count = len(prepare(text).validation.tokens)
    prepare(text, sequence_length=count - 1)
    with pytest.raises(UnusableInput, match=f"at most {count - 1}, or"):
        prepare(text, sequence_length=count)


def test_more_tokens_than_the_model_knows_are_refused(text: Path) -> None:
    with pytest.raises(
        UnusableInput, match=r"the tokenizer has 300 tokens, the model's vocabulary 299: set model.vocab"
    ):
        prepare(text, vocab=299)


def test_two_hosts_have_a_digest_in_common_if_their_tokens_are_equal(text: Path) -> None:
    kept = prepare(text)
    assert tokens_digest(kept) == tokens_digest(prepare(text, cache=text / "another cache"))
    tokens = np.load(kept.folder / "training.npy")
    tokens[0] ^= 1
    np.save(kept.folder / "training.npy", tokens)
    assert tokens_digest(kept) != tokens_digest(prepare(text, cache=text / "another cache"))

"""Tokenizers: nothing is lost, training is deterministic and exact in size, files come back, bad ones are named."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers import models

from plait.data import tokenizer as module
from plait.data.tokenizer import ByteTokenizer, Tokenizer, load_tokenizer, make_tokenizer, token_dtype
from plait.errors import UnusableInput

TEXT = [Path(path).read_text(encoding="utf-8") for path in (json.__file__, re.__file__, os.__file__)]
BPE = make_tokenizer("bpe:400", TEXT)


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), BPE], ids=["bytes", "bpe"])
@given(text=st.text())
def test_any_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert all(0 <= token < tokenizer.vocab for token in tokens)
    assert tokenizer.encode_all([text, text]).tolist() == tokens * 2


def test_bytes_are_the_bytes() -> None:
    assert ByteTokenizer().encode("aé") == [97, 195, 169]
    assert ByteTokenizer().decode([195, 97]) == "\ufffda"
    assert ByteTokenizer().vocab == 256


@pytest.mark.parametrize("count", [256, 257, 300])
def test_bpe_has_exactly_the_tokens_asked_for_and_every_byte(count: int) -> None:
    tokenizer = make_tokenizer(f"bpe:{count}", TEXT)
    assert tokenizer.vocab == count
    assert len(set(tokenizer.encode("".join(map(chr, range(0x800)))))) > 200


def test_bpe_is_shorter_than_bytes() -> None:
    assert len(BPE.encode(TEXT[0])) < 0.6 * len(TEXT[0].encode())


def test_training_is_deterministic_whatever_the_number_of_threads(tmp_path: Path) -> None:
    code = (
        "import json, os, re, sys; from pathlib import Path; from plait.data.tokenizer import make_tokenizer;"
        "texts = [Path(m.__file__).read_text(encoding='utf-8') for m in (json, re, os)];"
        "make_tokenizer('bpe:400', texts).save(Path(sys.argv[1]))"
    )
    BPE.save(tmp_path / "here.json")
    for threads in ("1", "3"):
        environment = os.environ | {"RAYON_NUM_THREADS": threads}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "there.json")], check=True, env=environment)
        assert (tmp_path / "there.json").read_bytes() == (tmp_path / "here.json").read_bytes()


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), BPE], ids=["bytes", "bpe"])
def test_a_saved_tokenizer_comes_back(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = make_tokenizer(str(tmp_path / "tokenizer.json"), [])
    assert type(loaded) is type(tokenizer)
    assert loaded.vocab == tokenizer.vocab
    assert loaded.encode(TEXT[0]) == tokenizer.encode(TEXT[0])
    json.loads((tmp_path / "tokenizer.json").read_text())


def test_a_foreign_file_s_truncation_and_padding_do_not_apply(tmp_path: Path) -> None:
    library = Library.from_str(BPE.library.to_str())  # type: ignore[attr-defined]
    library.enable_truncation(3)
    library.enable_padding(length=8)
    library.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path / "tokenizer.json").encode(TEXT[0]) == BPE.encode(TEXT[0])


def test_a_vocabulary_with_a_gap_reaches_to_its_largest_token(tmp_path: Path) -> None:
    Library(models.WordLevel({"a": 0, "b": 9}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path / "tokenizer.json").vocab == 10


def test_long_texts_are_cut_where_it_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [token for text in TEXT for token in BPE.encode(text)]
    monkeypatch.setattr(module, "_PIECE", 50)
    monkeypatch.setattr(module, "_BATCH", 300)
    assert len(list(module._pieces(TEXT[0]))) > 50
    assert "".join(module._pieces(TEXT[0])) == TEXT[0]
    assert BPE.encode_all(TEXT).tolist() == whole


@given(text=st.text(alphabet="ab \n\t'1\u00a0", max_size=60))
def test_no_cut_changes_a_token(text: str) -> None:
    cuts = [0, *(match.start() for match in module._BREAK.finditer(text)), len(text)]
    pieces = [text[start:stop] for start, stop in pairwise(cuts)]
    assert [token for piece in pieces for token in BPE.encode(piece)] == BPE.encode(text)


def test_nothing_encodes_to_nothing() -> None:
    for tokenizer in (ByteTokenizer(), BPE):
        assert tokenizer.encode_all([]).shape == (0,)
        assert tokenizer.encode("") == []
        assert tokenizer.decode([]) == ""


@pytest.mark.parametrize(("vocab", "dtype"), [(256, np.uint16), (65536, np.uint16), (65537, np.uint32)])
def test_the_smallest_type(vocab: int, dtype: type) -> None:
    assert token_dtype(vocab) is dtype


@pytest.mark.parametrize("name", ["bpe:", "bpe:many", "bpe:255", "bpe:-300", "bpe:²"])
def test_a_bad_number_of_tokens_is_refused(name: str) -> None:
    with pytest.raises(UnusableInput, match=r"counts tokens, at least 256"):
        make_tokenizer(name, TEXT)


def test_a_text_too_small_for_the_tokens_says_how_many_it_allows() -> None:
    with pytest.raises(UnusableInput, match=r'pairs for 259 tokens only: use tokenizer = "bpe:259" or smaller'):
        make_tokenizer("bpe:1000", ["abcd abcd"])
    assert make_tokenizer("bpe:259", ["abcd abcd"]).vocab == 259


def test_an_unusable_tokenizer_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.json").write_text("not JSON")
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "latin.json").write_bytes(b"\xe9")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "empty.json").write_text('{"model": {"type": "BPE", "vocab": {}, "merges": []}}')
    for name in ("missing.json", "text.json", "latin.json", "deep.json", "."):
        with pytest.raises(UnusableInput, match=r"tokenizer file .* can't be read .*: name a tokenizer.json, or use"):
            make_tokenizer(str(tmp_path / name), [])
    with pytest.raises(UnusableInput, match="no tokenizer file"):
        make_tokenizer(str(tmp_path / "other.json"), [])
    with pytest.raises(UnusableInput, match="without a token"):
        make_tokenizer(str(tmp_path / "empty.json"), [])

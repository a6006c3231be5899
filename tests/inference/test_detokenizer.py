"""Text as it comes: whole characters only, and in the end all of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers

from plait.data.tokenizer import ByteTokenizer, LibraryTokenizer, make_tokenizer
from plait.inference.detokenizer import Detokenizer

BYTES = ByteTokenizer()
BPE = make_tokenizer("bpe:290", ["naïve café, 日本語, 😀😁 and plain words, plain words and more plain words. " * 20])
TEXT = st.text(st.characters(codec="utf-8"))


def pieces(tokenizer, context: list[int], tokens: list[int]) -> list[str]:
    detokenizer = Detokenizer(tokenizer, context)
    return [detokenizer.push(token, last=number == len(tokens)) for number, token in enumerate(tokens, 1)]


@pytest.mark.parametrize("tokenizer", [BYTES, BPE], ids=["bytes", "bpe"])
@given(prompt=TEXT, text=TEXT)
def test_pieces_join_to_the_text(tokenizer, prompt: str, text: str) -> None:
    assert "".join(pieces(tokenizer, tokenizer.encode(prompt), tokenizer.encode(text))) == text


@given(TEXT.filter(lambda text: "\ufffd" not in text))
def test_no_piece_has_half_a_character_and_none_comes_late(text: str) -> None:
    detokenizer, given_so_far = Detokenizer(BYTES), ""
    for length, token in enumerate(text.encode(), 1):
        given_so_far += detokenizer.push(token)
        assert given_so_far == text.encode()[:length].decode(errors="ignore")


@given(st.binary(), st.binary())
def test_bytes_that_are_no_text_become_what_decoding_at_once_makes_of_them(prompt: bytes, wild: bytes) -> None:
    prompt = prompt + b"."
    joined = "".join(pieces(BYTES, list(prompt), list(wild)))
    assert joined == BYTES.decode([*prompt, *wild])[len(BYTES.decode(list(prompt))) :]


def test_the_last_piece_gives_what_is_left() -> None:
    assert pieces(BYTES, [], list("aé".encode()[:-1])) == ["a", "\ufffd"]
    assert pieces(BYTES, [], list("😀".encode()[:3])) == ["", "", "\ufffd"]


def test_the_sign_for_a_broken_character_may_itself_be_meant() -> None:
    assert "".join(pieces(BYTES, [], list("a\ufffdb".encode()))) == "a\ufffdb"


def word_pieces() -> LibraryTokenizer:
    vocabulary = {"[UNK]": 0, "play": 1, "##ing": 2, "##s": 3, "the": 4, "game": 5}
    library = Library(models.WordPiece(vocabulary, unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    library.decoder = decoders.WordPiece()
    return LibraryTokenizer(library=library)


def spaced_pieces() -> LibraryTokenizer:
    vocabulary = [("<unk>", 0.0), ("▁play", -1.0), ("ing", -1.0), ("▁the", -1.0), ("▁game", -1.0), ("s", -1.0)]
    library = Library(models.Unigram(vocabulary, unk_id=0))
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    library.decoder = decoders.Metaspace()
    return LibraryTokenizer(library=library)


@pytest.mark.parametrize("tokenizer", [word_pieces(), spaced_pieces()], ids=["##", "▁"])
@given(data=st.data())
def test_spaces_between_words_are_not_lost_where_a_token_s_text_depends_on_the_one_before(tokenizer, data) -> None:
    tokens = data.draw(st.lists(st.integers(1, 5), max_size=8))
    context = tokenizer.encode("the game")
    expected = tokenizer.decode([*context, *tokens])
    assert "the game" + "".join(pieces(tokenizer, context, tokens)) == expected

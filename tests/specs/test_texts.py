"""The texts that a job names: are they there, of a kind that is read, and enough? And an answer while a user waits."""

import glob
import os
import time
from pathlib import Path

import pytest

from plait.errors import UnusableInput
from plait.specs.texts import look_at_texts
from plait.specs.training import DataSpec


@pytest.fixture
def texts(tmp_path, monkeypatch):
    (tmp_path / "books" / "old").mkdir(parents=True)
    (tmp_path / "books" / "a.txt").write_text("a" * 5000)
    (tmp_path / "books" / "old" / "c.txt").write_text("c")
    (tmp_path / "books" / ".hidden").mkdir()
    (tmp_path / "books" / ".hidden" / "d.txt").write_text("d")
    (tmp_path / "weird[1].txt").write_text("b" * 5000)
    (tmp_path / "weights.bin").write_bytes(b"GGUF\xff\xfe\x00\x01")
    (tmp_path / "cut.txt").write_bytes(b"a" + "é".encode() * 2100)  # a character across the end of what is read
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(text, sequence_length=None, **more) -> str:
    """What is said of a text; "" where nothing is wrong."""
    look = look_at_texts(DataSpec(text=text, **more), sequence_length)
    assert look.whole
    assert {problem.key for problem in look.problems} <= {"data.text"}
    return "; ".join(problem.message for problem in look.problems)


@pytest.mark.parametrize(
    "text", ["python-stdlib", "books/a.txt", "books/*.txt", "**/*.txt", "books/**", "weird[1].txt", "cut.txt", "*/*/c*"]
)
def test_texts_that_are_there(texts, text):
    assert told(text) == ""
    assert told((text, "python-stdlib")) == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("books/b.txt", "no file is at"),
        ("books/*.md", "no file matches"),
        ("books/ol*", "no file matches"),  # only a folder does
        ("books", "directory"),
        ("books/a.jsonl", "not built yet"),
        ("*.PARQUET", "not built yet"),
        ("x" * 5000, "too long"),
        ("~nobody-of-this-name/x.txt", "nobody-of-this-name"),
        ("a\0b", "no file"),
        ("weights.bin", "not UTF-8 text at byte 4"),
        ("*.bin", "not UTF-8 text at byte 4"),
    ],
)
def test_texts_that_are_not(texts, text, said):
    assert said in told((text, "python-stdlib"))
    assert len(told(text)) < 300


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_text_that_is_closed_to_us(texts):
    (texts / "books" / "a.txt").chmod(0)
    assert "Permission" in told("books/a.txt")


def test_a_pipe_is_no_text(texts):
    os.mkfifo(texts / "pipe")
    assert "no regular file" in told("pipe")


def test_all_texts_are_named_at_once(texts):
    said = told(("nothing.txt", "books/a.txt", "no/*.txt"))
    assert "nothing.txt" in said
    assert "no/*.txt" in said
    assert "books/a.txt" not in said


def test_of_very_many_the_first_are_named(texts):
    said = told(tuple(f"no{number}" for number in range(100)))
    assert "no3" in said
    assert said.endswith("and 96 more like these")


PATTERNS = ["**/*.txt", "**", "books/**/*", "*/*", "*", "**/old/**", "**/.hidden/*", "[bw]*", "../*/books/*.txt"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_matches_what_glob_does(texts, pattern):
    files = [match for match in glob.glob(pattern, recursive=True) if Path(match).is_file()]
    assert ("no file matches" in told(pattern)) == (not files)
    absolute = str(texts / pattern)
    assert ("no file matches" in told(absolute)) == (not files)


# ---- enough ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "enough"), [(98, True), (99, True), (100, False), (10**6, False)])
def test_a_text_that_can_t_give_one_sequence(texts, length, enough):
    """5000 bytes, 2 % of them held out: at most 100 tokens."""
    assert (told("books/a.txt", length) == "") == enough


def test_it_is_what_the_run_would_say(texts):
    """The run reads the text, and has the last word: what is refused here is refused there."""
    from plait.data.dataset import prepare_tokens

    for length in (98, 99, 100):
        refused = False
        try:
            prepare_tokens(
                text="books/a.txt", tokenizer="bytes", validation_fraction=0.02, sequence_length=length, vocab=256,
                cache=texts / "cache",
            )  # fmt: skip
        except UnusableInput:
            refused = True
        assert refused == (told("books/a.txt", length) != "")


def test_nothing_is_said_of_sizes_that_are_not_known(texts):
    assert told(("books/a.txt", "python-stdlib"), 10**6) == ""
    assert told("books/a.txt", 10**6, tokenizer="books/a.txt") == ""


# ---- patience -------------------------------------------------------------------------------------------------------


@pytest.mark.clock
@pytest.mark.parametrize("text", ["/**/*.no-such-ending", "/*/*/*/*/*/*/*.no", tuple(f"no{n}" for n in range(10**5))])
def test_an_answer_comes_while_a_user_waits(text):
    start = time.perf_counter()
    look_at_texts(DataSpec(text=text), 128)
    assert time.perf_counter() - start < 0.9


def test_what_was_not_looked_at_is_not_refused(texts):
    look = look_at_texts(DataSpec(text="**/*.md"), 128, patience=-1.0)
    assert not look.whole
    assert look.problems == ()

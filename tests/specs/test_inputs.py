"""The files that a job names: texts that are there, tokenizers and how many tokens they have."""

import json
import os

import pytest
import tokenizers

from plait.specs.inputs import text_problems, tokenizer_problem, vocabulary
from plait.specs.training import DataSpec


@pytest.fixture
def texts(tmp_path, monkeypatch):
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "a.txt").write_text("a")
    (tmp_path / "weird[1].txt").write_text("b")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("text", ["python-stdlib", "books/a.txt", "books/*.txt", "**/*.txt", "weird[1].txt"])
def test_texts_that_are_there(texts, text):
    assert text_problems(DataSpec(text=text)) == []
    assert text_problems(DataSpec(text=(text, "python-stdlib"))) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("books/b.txt", "no file is at"),
        ("books/*.md", "no file matches"),
        ("books", "directory"),
        ("books/a.jsonl", "not built yet"),
        ("*.parquet", "not built yet"),
        ("x" * 5000, "too long"),
        ("~nobody-of-this-name/x.txt", "nobody-of-this-name"),
        ("a\0b", "no file"),
    ],
)
def test_texts_that_are_not(texts, text, said):
    (problem,) = text_problems(DataSpec(text=(text, "python-stdlib")))
    assert problem.key == "data.text"
    assert said in problem.message


def test_all_texts_are_named_at_once(texts):
    (problem,) = text_problems(DataSpec(text=("nothing.txt", "books/a.txt", "no/*.txt")))
    assert "nothing.txt" in problem.message
    assert "no/*.txt" in problem.message
    assert "books/a.txt" not in problem.message


@pytest.mark.parametrize(("name", "tokens"), [("bytes", 256), ("bpe:256", 256), ("bpe:50000", 50000)])
def test_known_tokenizers(name, tokens):
    assert tokenizer_problem(name) is None
    assert vocabulary(name) == tokens


@pytest.mark.parametrize(
    "description",
    [
        {"tokenizer": "bytes"},
        {"model": {"vocab": {"a": 0, "b": 255}}, "added_tokens": []},
        {"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 255, "content": "<s>"}]},
        {"model": {"vocab": [["a", 0.0]] * 256}},
    ],
)
def test_tokenizer_files(tmp_path, description):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(description))
    assert tokenizer_problem(str(path)) is None
    assert vocabulary(str(path)) == 256


def test_a_file_of_the_library(tmp_path):
    library = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={"a": 0, "b": 1, "ab": 2}, merges=[("a", "b")]))
    library.add_special_tokens(["<end>"])
    library.save(str(tmp_path / "tokenizer.json"))
    assert vocabulary(str(tmp_path / "tokenizer.json")) == library.get_vocab_size(with_added_tokens=True) == 4


@pytest.mark.parametrize(
    "name",
    ["byte", "bpe:255", "bpe:", "bpe:1e3", "bpe:-5", "bpe:" + "9" * 5000, "\0", "~nobody-of-this-name/tokenizer.json"],
)
def test_tokenizers_that_nobody_knows(name):
    problem = tokenizer_problem(name)
    assert problem is not None
    assert problem.key == "data.tokenizer"
    assert "bpe:N" in problem.legal


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[1]",
        "{}",
        '{"model": 3}',
        '{"model": {"vocab": []}}',
        '{"model": {"vocab": {"a": "x"}}}',
        '{"model": {"vocab": {"a": -5}}}',
        '{"model": {"vocab": {"a": 9.5}}}',
        '{"model": {"vocab": {"a": 1}}, "added_tokens": [{"id": 1e999}]}',
        f'{{"model": {{"vocab": {{"a": 1{"0" * 400}}}}}}}',
        "[" * 200_000,
        "\xff",
    ],
)
def test_files_that_are_no_tokenizer(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_text(content, encoding="latin-1")
    assert tokenizer_problem(str(path)) is not None


def test_a_pipe_is_neither_a_text_nor_a_tokenizer(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (text,) = text_problems(DataSpec(text=str(pipe)))
    tokenizer = tokenizer_problem(str(pipe))
    assert tokenizer is not None
    assert "no regular file" in text.message
    assert "no regular file" in tokenizer.message

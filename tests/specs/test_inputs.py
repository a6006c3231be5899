"""The tokenizer that a job names: is it one, and how many tokens has it?"""

import json
import os

import pytest
import tokenizers

from plait.specs.inputs import tokenizer_problem, vocabulary


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


def test_a_pipe_is_no_tokenizer(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    tokenizer = tokenizer_problem(str(pipe))
    assert tokenizer is not None
    assert "no regular file" in tokenizer.message


def test_a_file_that_is_no_tokenizer_by_its_size_is_not_read(tmp_path):
    path = tmp_path / "weights.json"
    with path.open("wb") as file:
        file.truncate(2**30)
    problem = tokenizer_problem(str(path))
    assert problem is not None
    assert str(2**30) in problem.message


def test_a_file_that_has_changed_is_read_again(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": {"vocab": {"a": 0}}}')
    assert vocabulary(str(path)) == 1
    path.write_text('{"model": {"vocab": {"a": 0, "b": 1}}}')
    os.utime(path, ns=(0, 0))
    assert vocabulary(str(path)) == 2


def test_a_name_however_long_is_cut(tmp_path):
    problem = tokenizer_problem("x" * 10_000)
    assert problem is not None
    assert len(problem.message) < 300

"""`plait generate`: the document of the contract, the text as people read it, and what can't be answered."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from plait.cli.main import main
from plait.data.tokenizer import ByteTokenizer
from plait.inference.engine import Engine
from plait.inference.sampler import Sampling
from tests.contract.golden import assert_shape, golden
from tests.inference.models import BYTES, leave_run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    """A run that training could have left."""
    path = tmp_path_factory.mktemp("runs") / "demo"
    leave_run(path)
    return str(path)


def document(capsys, *words: str, code: int = 0) -> dict:
    """The one JSON document that the command leaves on stdout."""
    assert main(["generate", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_the_document_is_the_contract_s(capsys, run: str) -> None:
    found = document(capsys, run, "def ", "--max-tokens", "12")
    assert_shape(found, golden("generate"))
    assert len(found["tokens"]) == 12
    assert found["text"] == ByteTokenizer().decode(found["tokens"])  # the continuation alone
    assert found["seconds"] > 0


def test_every_option_reaches_the_engine(capsys, run: str) -> None:
    engine = Engine.of_run(Path(run))
    for sampling in (Sampling(temperature=0), Sampling(temperature=3.0, top_k=40, top_p=0.9, seed=5)):
        (expected,) = engine.generate(["def "], max_tokens=20, sampling=sampling)
        options = {
            "--temperature": sampling.temperature,
            "--top-k": sampling.top_k,
            "--top-p": sampling.top_p,
            "--seed": sampling.seed,
        }
        words = [str(word) for pair in options.items() for word in pair]
        found = document(capsys, run, "def ", "--max-tokens", "20", *words)
        assert tuple(found["tokens"]) == expected.tokens


def test_the_same_command_writes_the_same_text_and_another_seed_another(capsys, run: str) -> None:
    words = (run, "def ", "--temperature", "5")
    texts = [document(capsys, *words, "--seed", seed)["text"] for seed in ("1", "1", "-2")]
    assert texts[0] == texts[1] != texts[2]


def test_people_read_the_prompt_and_what_follows_and_how_fast_it_came_apart_from_it(capsys, run: str) -> None:
    text = document(capsys, run, "def ", "--max-tokens", "9")["text"]
    assert main(["generate", run, "def ", "--max-tokens", "9"]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"def {text}\n"
    assert shown.err.startswith("9 tokens in ")
    assert shown.err.endswith(" a second\n")


def test_an_empty_prompt_is_answered(capsys, run: str) -> None:
    assert len(document(capsys, run, "", "--max-tokens", "3")["tokens"]) == 3


def test_more_than_the_trained_length_is_written(capsys, run: str) -> None:
    long = 5 * BYTES.max_positions
    assert len(document(capsys, run, "x" * long, "--max-tokens", str(long))["tokens"]) == long


WRONG = {
    "no tokens": (["--max-tokens", "0"], "max-tokens = 0: a whole number of tokens from 1 on"),
    "fewer than none": (["--max-tokens", "-3"], "max-tokens = -3"),
    "half a token": (["--max-tokens", "1.5"], "max-tokens"),
    "below zero": (["--temperature", "-1"], "temperature = -1.0: a number from 0"),
    "no number": (["--temperature", "nan"], "temperature = nan"),
    "no end of heat": (["--temperature", "inf"], "temperature = inf"),
    "warm": (["--temperature", "warm"], "temperature"),
    "fewer than all": (["--top-k", "-1"], "top-k = -1"),
    "nothing left": (["--top-p", "0"], "top-p = 0.0"),
    "more than all": (["--top-p", "2"], "top-p = 2.0"),
    "an option that is none": (["--tempreature", "1"], "tempreature"),
}


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG)
def test_an_option_that_makes_no_sense(capsys, run: str, words: list[str], said: str) -> None:
    assert said in document(capsys, run, "def ", *words, code=2)["error"]["message"]
    assert main(["generate", run, "def ", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err


def test_a_run_that_is_not_there(capsys, tmp_path) -> None:
    found = document(capsys, str(tmp_path / "nothing"), "def ", code=2)
    assert found["error"]["kind"] == "unusable_input"
    assert "there is no such run" in found["error"]["message"]


def test_a_run_whose_training_has_not_finished(capsys, run: str, tmp_path) -> None:
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "weights")
    message = document(capsys, str(tmp_path / "run"), "def ", code=2)["error"]["message"]
    assert message == f"{tmp_path / 'run'}: has no saved weights: its training has not finished"


def test_a_prompt_that_is_no_text(capsys, run: str) -> None:
    assert "not valid text" in document(capsys, run, "a\udcff", code=2)["error"]["message"]


class Terminal(io.TextIOWrapper):
    """A stdout that obeys control characters and shows ASCII only."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="ascii")

    def isatty(self) -> bool:
        return True


def test_a_terminal_is_never_given_orders_nor_signs_that_it_has_not(monkeypatch, run: str) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["generate", run, "é\x1b[2J\tx\n", "--max-tokens", "200", "--temperature", "9"]) == 0
    terminal.flush()
    shown = terminal.buffer.getvalue().decode("ascii")
    assert shown.startswith("??[2J\tx\n")
    assert all(sign.isprintable() or sign in "\t\n" for sign in shown)


def test_a_reader_who_goes_away_is_no_defect(run: str) -> None:
    program = "import sys; from plait.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "generate", run, "def ", "--max-tokens", "100000"]
    reader, writer = os.pipe()
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, text=True) as process:
        os.close(writer)
        assert os.read(reader, 4) == b"def "
        os.close(reader)
        told = process.communicate(timeout=60)[1]
    assert process.returncode == 141
    assert "Traceback" not in told

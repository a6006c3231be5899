"""docs/worked_examples.md: each of its commands runs, each figure that it calls printed is, and what it works out of
them is right; no figure stands there that is neither printed, nor worked out, nor published or a job's own."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from plait.api import load
from plait.cli.main import main
from plait.clusters.answer import price_plan
from plait.plans.files import read_plan

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "worked_examples.md").read_text()
FILES = sorted((ROOT / "examples" / "jobs").glob("*.toml"))
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
COMMAND = re.compile(r"^    plait (.*)$", re.MULTILINE)
PRINTED = re.compile(r"`([^`]*\d[^`]*)`")
QUOTIENT = re.compile(r"`?([\d.]+)(?: [a-z]+)?`? / `([\d.]+) [\w/ ]+` = \*\*([\d.]+)\*\*")
DAYS = re.compile(r"`([\d.]+) h` \(([\d.]+) days\)")
FIGURE = re.compile(r"[\d.,]*\d (?:%|s|h|ms|days|hours|seconds|times|[KMG]iB|TFLOP/s)(?!\w)")
SAID = {  # published, or what is asked
    "30 days", "3 days", "72 hours", "32 seconds", "34 days", "400 TFLOP/s", "41 %",
}  # fmt: skip
REFUSED = {"plan examples/jobs/llama3_70b_rtx4090.toml": 1}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What each command of a section prints, as people get it; by the section's title."""
    known: dict[str, str] = {}

    def printed(title: str, capsys) -> str:
        if title not in known:
            out = str(tmp_path_factory.mktemp("plans") / "plan.toml")
            for command in COMMAND.findall(SECTIONS[title]):
                words = shlex.split(command.replace("examples/", f"{ROOT}/examples/"))
                assert main([*words, *(["--out", out] if words[0] == "plan" else [])]) == REFUSED.get(command, 0)
            captured = capsys.readouterr()
            known[title] = captured.out + captured.err
        return known[title]

    return printed


@pytest.mark.parametrize("title", SECTIONS)
def test_what_is_called_printed_is(title, answers, capsys):
    out = answers(title, capsys)
    told: list[str] = PRINTED.findall(COMMAND.sub("", SECTIONS[title]))
    assert told
    for words in told:
        assert re.search(rf"(?<![\d.]){re.escape(words)}(?!\.?\d)", out), words


@pytest.mark.parametrize("title", SECTIONS)
def test_what_is_worked_out_is_right(title):
    """To the digits that are given."""
    for over, under, found in QUOTIENT.findall(SECTIONS[title]):
        assert f"{float(over) / float(under):.{len(found.partition('.')[2])}f}" == found
    for hours, days in DAYS.findall(SECTIONS[title]):
        assert f"{float(hours) / 24:.2g}" == days


@pytest.mark.parametrize("title", SECTIONS)
def test_no_other_figure_stands_there(title):
    text = COMMAND.sub("", SECTIONS[title])
    for known in (QUOTIENT, DAYS, PRINTED):
        text = known.sub("", text)
    assert set(FIGURE.findall(text)) <= SAID


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_job_and_every_plan_beside_it_stands_there(path):
    asked = "--plan " if path.name.endswith(".plan.toml") else "plait plan "
    assert f"{asked}examples/jobs/{path.name}\n" in PAGE
    assert path.read_text().startswith("# ")


def test_the_published_configuration_of_gpt3_takes_what_was_published():
    job = load(ROOT / "examples" / "jobs" / "gpt3_1024_a100.toml")
    plan = read_plan(ROOT / "examples" / "jobs" / "gpt3_1024_a100_published.plan.toml", job).plan
    assert price_plan(job, plan).seconds == pytest.approx(32, rel=0.05)  # Megatron-LM: "around 32 seconds"


def test_a_quotient_and_a_figure_are_found():
    assert QUOTIENT.findall("`490 h` / `78.1 h` = **6.3** times; 400 / `379 TFLOP/s a device` = **1.06**") == [
        ("490", "78.1", "6.3"), ("400", "379", "1.06"),
    ]  # fmt: skip
    told = "takes 9.3 s, 19 % off, 365 TFLOP/s, 16 M tokens, 8 steps"
    assert FIGURE.findall(told) == ["9.3 s", "19 %", "365 TFLOP/s"]

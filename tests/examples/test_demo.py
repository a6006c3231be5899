"""The demo's whole loop on a smaller copy of its job: it plans, proves and learns, and what it learned beats counting
pairs. The bar is an interpolated bigram of the very tokens that the model saw, judged on the same held-out text.

`make demo` runs the job itself, which takes minutes; that one is checked and planned here, on the machine as the copy
found it.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
import tokenize
import tomllib
from math import log
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from plait import api
from plait.cli.main import main
from plait.data.dataset import prepare_tokens
from plait.data.loader import samples_of_step
from plait.inference.engine import Engine
from plait.inference.sampler import Sampling
from plait.plans.files import read_plan
from plait.specs.files import read_job
from plait.specs.measurement_files import read_measurements
from plait.training.rank_trainer import VALIDATION_TOKENS
from tests.data.bigram import bits_per_byte

ROOT = Path(__file__).parents[2]
JOB = ROOT / "examples" / "demo.toml"
SMALLER = {
    "model": {"layers": 3, "hidden": 128, "heads": 4, "ffn": 320, "vocab": 256},
    "data": {"tokenizer": "bytes"},
    "training": {"learning_rate": 5e-3},
}
PROMPTS = (
    "    return",
    "for",
    "with",
    "    self.",
    "try:",
    "raise",
    "    for",
    "from",
    "assert",
    "    while",
    "elif",
    "    x",
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """What the demo says, and the directory that it leaves; the cache is fresh, as on a new machine."""
    place = tmp_path_factory.mktemp("demo")
    tables = tomllib.loads(JOB.read_text())
    smaller = {name: table | SMALLER.get(name, {}) for name, table in tables.items()}
    (place / "demo.toml").write_text(tomli_w.dumps(smaller))
    ran = subprocess.run(
        [sys.executable, "-m", "plait.cli.main", "demo", "demo.toml", "--out", "run", "--json"],
        cwd=place,
        env={**os.environ, "PLAIT_CACHE": str(place / "cache")},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout), place / "run", place / "cache"


def test_the_chosen_plan_is_proven(demo):
    document, run, _ = demo
    assert document["verdict"] in ("EXACT", "REASSOCIATION", "ZERO")
    assert json.loads((run / "verify.json").read_text())["culprit"] is None


def test_what_it_says_to_do_again_names_the_plan_that_was_written(demo):
    _, run, _ = demo
    said = [shlex.split(line) for line in json.loads((run / "commands.json").read_text())]
    planned, verified, trained = said[1:4]
    assert planned == ["plait", "plan", "demo.toml", "--out", "run.plan.toml"]
    assert verified == ["plait", "verify", "demo.toml", "--plan", "run.plan.toml"]
    assert trained[:7] == ["plait", "train", "demo.toml", "--plan", "run.plan.toml", "--out", "run"]
    job = api.load(run.parent / "demo.toml")
    assert read_plan(run.parent / "run.plan.toml", job) == read_plan(run / "plan.toml", job)


def test_the_job_itself_is_legal_and_has_a_plan_here(demo):
    *_, cache = demo
    job = api.load(JOB)
    assert api.check(job).ok
    plans = api.plan(job, read_measurements(cache / "measurements.json"))
    assert plans.best.plan.ranks == job.cluster.ranks
    assert plans.legal > 10
    assert 0 < plans.best.prediction.step_seconds < 30


def test_it_beats_an_interpolated_bigram_of_the_same_tokens(demo):
    document, run, cache = demo
    job = read_job(run.parent / "demo.toml")
    data, training = job.data, job.training
    dataset = prepare_tokens(
        text=data.text,
        tokenizer=data.tokenizer,
        validation_fraction=data.validation_fraction,
        sequence_length=training.sequence_length,
        vocab=job.model.vocab,
        cache=cache / "tokens",
    )
    length, tokens = training.sequence_length, dataset.training.tokens
    windows = (len(tokens) - 1) // length
    seen = np.concatenate(
        [samples_of_step(step, training.global_batch, windows, training.seed) for step in range(training.steps)]
    )
    learnt = np.concatenate([tokens[window * length : (window + 1) * length + 1] for window in seen])
    held_out = dataset.validation.tokens[: VALIDATION_TOKENS + 1]
    held_out_bytes = round(len(held_out) * dataset.validation.bytes_per_token)
    bigram = bits_per_byte(learnt, held_out, held_out_bytes, job.model.vocab)
    model = document["loss"]["last_validation"] / log(2) / dataset.validation.bytes_per_token
    assert model < bigram
    assert document["loss"]["last_validation"] < document["loss"]["first_validation"]


def tokenises(line):
    """Whether a line consists of Python's tokens; a bracket may stay open, a string may not."""
    try:
        kinds = [token.type for token in tokenize.generate_tokens(io.StringIO(line.strip() + "\n").readline)]
    except tokenize.TokenError as error:
        return "statement" in str(error)
    return tokenize.ERRORTOKEN not in kinds


def test_most_lines_that_it_writes_are_python_s_tokens(demo):
    _, run, _ = demo
    samples = json.loads((run / "samples.json").read_text())
    more = Engine.of_run(run).generate(PROMPTS, max_tokens=160, sampling=Sampling(temperature=0.7, top_k=50))
    texts = [one["prompt"] + one["text"] for one in samples]
    texts += [prompt + one.text for prompt, one in zip(PROMPTS, more, strict=True)]  # 160 bytes are few lines
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    assert len(lines) > 20
    assert sum(map(tokenises, lines)) > len(lines) / 2


def test_it_leaves_a_run_that_generates_and_a_report(demo, capsys):
    _, run, _ = demo
    assert main(["generate", str(run), "def ", "--max-tokens", "20", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["tokens"]) == 20
    page = (run / "report.html").read_text()
    assert "http" not in page.replace("http://www.w3.org", "")
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == list(range(1, len(steps) + 1))
    assert set(steps[0]) >= {"step", "loss", "tokens", "seconds", "predicted_seconds"}
    assert (run / "prediction.json").stat().st_mtime <= (run / "metrics.jsonl").stat().st_mtime

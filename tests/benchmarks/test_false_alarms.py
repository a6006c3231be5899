"""The campaign of random jobs goes on where it was cut off, survives what breaks, and counts by stratum."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import false_alarms
from alarm_record import append, mend, read
from drawn_jobs import numbered
from strata import strata, table

from plait.errors import RankFailure
from plait.plans.plan import Plan
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec

LINE = {"verdict": "ZERO", "worst_eps": 2.0, "seconds": 1.0, "tree": "abc", "culprit": None}


@pytest.fixture
def verified(monkeypatch):
    """The numbers that are verified, in order; nothing is run, job 2 raises an alarm."""
    numbers: list[int] = []

    def line_of(number, tree, run):
        numbers.append(number)
        return {
            **LINE,
            "number": number,
            "verdict": "BUG" if number == 2 else "EXACT",
            "strata": strata(*numbered(number)),
        }

    monkeypatch.setattr(false_alarms, "line_of", line_of)
    return numbers


def test_a_torn_last_line_is_cut_off_and_done_again(tmp_path, verified):
    record = tmp_path / "new" / "record.jsonl"
    false_alarms.campaign(2, record, run=None)
    with record.open("ab") as file:
        file.write(b'{"number": 2, "verd')
    assert set(read(record)) == {0, 1}
    false_alarms.campaign(4, record, run=None)
    assert verified == [0, 1, 2, 3]
    assert [json.loads(line)["number"] for line in record.read_text().splitlines()] == [0, 1, 2, 3]


def test_alarms_are_kept_unless_they_are_asked_for_again(tmp_path, verified):
    record = tmp_path / "record.jsonl"
    assert false_alarms.campaign(4, record, run=None) == 1
    assert false_alarms.campaign(4, record, run=None) == 1
    false_alarms.campaign(4, record, run=None, again=True)
    assert verified == [0, 1, 2, 3, 2]


def test_a_record_of_other_jobs_is_not_gone_on_with(tmp_path, verified):
    record = tmp_path / "record.jsonl"
    append(record, {**LINE, "number": 5, "strata": strata(*numbered(6))})
    with pytest.raises(SystemExit, match="other jobs than those drawn today, such as number 5"):
        false_alarms.campaign(1, record, run=None)


def test_of_several_lines_of_a_job_the_last_counts(tmp_path):
    record = tmp_path / "record.jsonl"
    mend(record)
    append(record, {"number": 1, "verdict": "FAILED"})
    append(record, {"number": 1, "verdict": "ZERO"})
    assert read(record)[1]["verdict"] == "ZERO"


def test_a_broken_rank_is_recorded_with_its_cause():
    def dies(*_):
        raise RankFailure(1, "Traceback (most recent call last):\n  File\nValueError: planted")

    line = false_alarms.line_of(3, "abc", dies)
    assert (line["verdict"], line["culprit"]) == ("FAILED", "rank 1: ValueError: planted")
    assert line["strata"] == strata(*numbered(3))


def test_where_all_jobs_break_the_campaign_stops(tmp_path):
    def dies(*_):
        raise RankFailure(0, "killed by SIGKILL")

    with pytest.raises(SystemExit, match="5 jobs in a row broke, last: rank 0: killed by SIGKILL"):
        false_alarms.campaign(100, tmp_path / "record.jsonl", dies)
    assert len(read(tmp_path / "record.jsonl")) == 5


def test_a_line_of_a_healthy_job_names_its_worst_tensor(run_on_ranks):
    line = json.loads(json.dumps(false_alarms.line_of(1, "abc", run_on_ranks)))
    assert line["verdict"] not in false_alarms.ALARMS
    assert line["worst"].startswith("step ")
    assert (line["number"], line["tree"], line["copies_differ"], line["culprit"]) == (1, "abc", [], None)


def test_strata_say_what_is_uneven():
    model = ModelSpec(layers=3, hidden=20, heads=5, kv_heads=1, ffn=9, vocab=12, max_positions=7, dropout=0.1)
    training = TrainingSpec(global_batch=2, sequence_length=7)
    split = {"tensor": 2, "tensor_shares": (1, 1), "sequence_parallel": True, "pipeline": 2, "stages": (2, 1)}
    found = strata(Job(model=model, training=training), Plan(microbatch=2, **split))
    assert found["uneven"] == ["heads", "ffn", "sequence", "stages", "copies of kv heads"]
    assert (found["schedule"], found["axes"], found["microbatches"]) == (
        "1f1b",
        "tensor × pipeline",
        "fewer than stages",
    )
    even = strata(Job(model=replace(model, heads=1), training=training), Plan(stages=(3,), microbatch=1))
    assert (even["uneven"], even["schedule"], even["axes"]) == (["nothing"], "none", "none")


def test_the_table_counts_a_job_in_all_its_strata():
    one = {**LINE, "strata": {"tied": True, "ranks": 10, "uneven": ["heads", "vocab"]}}
    two = {**LINE, "verdict": "BUG", "seconds": 3.0, "strata": {"tied": True, "ranks": 2, "uneven": ["heads"]}}
    rows = table([one, two]).splitlines()
    assert rows[0] == "2 jobs, 1 alarms: 1 BUG, 1 ZERO; median 2.00 s a job; at abc."
    assert [row.split(" | ")[:4] for row in rows[4:]] == [
        ["| tied", "yes", "2", "1"],
        ["| ranks", "2", "1", "1"],
        ["| ranks", "10", "1", "0"],
        ["| uneven", "heads", "2", "1"],
        ["| uneven", "vocab", "1", "0"],
    ]


SCRIPTS = [path for path in (Path(__file__).parents[2] / "benchmarks").glob("*.py") if "__main__" in path.read_text()]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_starts_as_the_docs_say(script, tmp_path):
    """From any directory, with nothing set but the environment that it is installed in."""
    told = subprocess.run([sys.executable, script, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert told.returncode == 0, told.stderr
    assert "usage" in told.stdout

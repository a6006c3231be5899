"""What a run leaves and where; and a place that can't hold one is refused in words, with nothing left behind."""

from __future__ import annotations

import json
from math import inf, nan
from pathlib import Path

import pytest

from plait.errors import UnusableInput
from plait.specs.files import read_job
from plait.specs.model import ModelSpec
from plait.training.run_directory import RunDirectory, finite, written
from tests.training.runs import strict, tiny


def test_a_new_run_may_lie_deep(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "runs" / "first")
    assert run.path.is_dir()
    assert RunDirectory.create(run.path) == run, "an empty directory is free"


def test_where_there_is_something_no_run_begins(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(UnusableInput, match="is not empty; name another directory, or remove this one"):
        RunDirectory.create(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.parametrize("place", ["file", "file/run", "/proc/run"])
def test_where_nothing_can_be_made_no_run_begins(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnusableInput, match=r"can't hold a run: .*; name another directory"):
        RunDirectory.create(tmp_path / place)


def test_asking_leaves_nothing(tmp_path: Path) -> None:
    RunDirectory.require_free(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_job_and_model_are_read_back_equal(tmp_path: Path) -> None:
    job, _ = tiny(tmp_path, training={"betas": [0.5, 0.75]})
    run = RunDirectory.create(tmp_path / "run")
    run.write_job(job)
    run.write_model(job.model)
    assert read_job(run.job) == job
    assert ModelSpec(**json.loads((run.path / "model.json").read_text())) == job.model


def test_json_has_no_number_that_is_not_finite(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    run.write_json("odd.json", {"a": nan, "b": [1.5, (inf, -inf)], "c": {"d": nan}, "e": True})
    read = strict((run.path / "odd.json").read_text())
    assert read == {"a": None, "b": [1.5, [None, None]], "c": {"d": None}, "e": True}
    assert finite((1, "x", None)) == [1, "x", None]


def test_a_full_disk_is_told_with_the_file(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    run.prediction.symlink_to("/dev/full")
    with pytest.raises(UnusableInput, match=r"prediction\.json: can't be written: No space left on device"):
        run.write_json("prediction.json", {})
    with pytest.raises(UnusableInput, match="can't be written"), written(run.tokenizer / "deeper") as path:
        path.write_text("")


def test_the_page_lies_where_it_is_looked_for(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    run.write_page("<html>")
    assert run.report.read_text() == "<html>"

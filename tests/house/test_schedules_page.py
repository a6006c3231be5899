"""docs/schedules.md tells the truth: its staircases are the schedules', its grid is read, its deadlock is told so."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace

import pytest

from plait.errors import IllegalSchedule
from plait.plans.completion import complete
from plait.schedules.grid import read_grid
from plait.specs.files import job_from_table
from plait.specs.grids import tidy
from tests.house.tree import ROOT
from tests.schedules.drawing import built, staircase

PAGE = (ROOT / "docs" / "schedules.md").read_text("utf-8")
SHAPES = {"GPipe": ("gpipe", 4, 4), "1F1B": ("1f1b", 4, 6), "Interleaved 1F1B": ("interleaved", 2, 4)}
SHAPES |= {"ZB-H1": ("zb-h1", 4, 6), "ZB-V": ("zb-v", 2, 4)}
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
GRID, DEADLOCK = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("name", SHAPES)
def test_a_staircase_is_the_schedule_s(name):
    rows = [line.split()[2:] for line in SECTIONS[name].splitlines() if line.startswith("    rank ")]
    assert rows == staircase(built(*SHAPES[name]))


def test_the_grid_is_read_from_its_file_and_stands_in_the_plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text(GRID, "utf-8")
    (table,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    model = {"layers": 5, "hidden": 8, "heads": 2}
    batch = {"global_batch": 3, "sequence_length": 8}
    job = job_from_table({**tomllib.loads(table), "model": model, "training": batch, "cluster": {"ranks": 2}})
    plan = complete(job)
    assert plan.schedule == tidy(GRID)
    assert (plan.virtual_stages, plan.microbatch, plan.stage_rank) == (2, 1, (0, 1, 1, 0))
    (tmp_path / "mine.txt").unlink()
    assert complete(replace(job, constraints=vars(plan))) == plan


def test_the_deadlock_is_told_like_that():
    with pytest.raises(IllegalSchedule) as caught:
        read_grid(tidy("F0 B0 F1 B1\n.. F1 F0 B0 B1"))
    assert str(caught.value) == DEADLOCK.rstrip("\n")

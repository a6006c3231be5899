"""docs/evaluate.md tells the truth: it has every column of a file of runs and no other, and its sample is evaluated."""

from __future__ import annotations

import re
from pathlib import Path

from plait.evaluation.evaluate import evaluate
from plait.evaluation.rows import COLUMNS
from tests.house.tree import ROOT

PAGE = (ROOT / "docs" / "evaluate.md").read_text("utf-8")


def test_every_column_stands_there_once():
    cells = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert sorted(name for cell in cells for name in re.findall(r"`(\w+)`", cell)) == sorted(COLUMNS)


def test_the_sample_is_evaluated(tmp_path: Path):
    lines = [line[4:] for line in PAGE.splitlines() if line.startswith("    ")]
    (path := tmp_path / "runs.csv").write_text("\n".join(lines))
    (one,) = evaluate(path).judged
    assert one.skipped is None
    assert one.pair is not None
    assert 0.5 < one.pair[0] / one.pair[1] < 2, "a sample that somebody could have measured"

"""The cores that count are those that this process may use, wherever it is asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plait.specs.cluster import usable_cores


def test_there_is_a_core():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("quota", "cores"), [("50000 100000", 1), ("100000 100000", 1), ("max 100000", None), ("", None)]
)
def test_a_container_s_quota_counts(tmp_path: Path, quota: str, cores: int | None):
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert usable_cores(tmp_path) == (cores or usable_cores(tmp_path / "none"))

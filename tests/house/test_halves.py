"""`make test` runs every test once, what measures time alone at the end, and fails if any part of it does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = """
import os, pytest, time
from pathlib import Path

def ran(name):
    began = time.monotonic()
    time.sleep(0.2)
    with Path("ran").open("a") as file:
        print(name, began, time.monotonic(), file=file)
    assert not Path(name).exists()
    if Path(f"{name} is killed").exists():
        os.kill(os.getpid(), 9)

def test_plain(): ran("plain")

@pytest.mark.ranks
def test_ranks(): ran("ranks")

@pytest.mark.clock
def test_clock(): ran("clock")

@pytest.mark.clock
@pytest.mark.ranks
def test_both(): ran("both")
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A suite of four tests; a file called as one of them makes it fail."""
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -q\nmarkers =\n  ranks\n  clock\n")
    return tmp_path


def halves(place: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "tests.halves", "--rootdir", str(place), "-c", str(place / "pytest.ini"), str(place)]
    path = {"PYTHONPATH": str(ROOT), "PATH": ""}
    return subprocess.run(words, cwd=place, env=path, capture_output=True, text=True, timeout=60, check=False)


def test_all_are_run_once_and_those_that_measure_time_after_the_others(place: Path):
    ended = halves(place)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    times = {name: (float(began), float(end)) for name, began, end in map(str.split, (place / "ran").open())}
    assert len((place / "ran").read_text().splitlines()) == len(times) == 4
    assert max(times[name][1] for name in ("plain", "ranks")) < min(times[name][0] for name in ("clock", "both"))


@pytest.mark.parametrize("name", ["plain", "ranks", "clock"])
def test_a_part_that_is_killed_is_no_success(place: Path, name: str):
    (place / f"{name} is killed").touch()
    assert halves(place).returncode == 128 + 9


def test_a_part_may_have_no_test(place: Path):
    (place / "test_it.py").write_text("def test_plain(): pass")
    assert halves(place).returncode == 0
    (place / "test_it.py").write_text("")
    assert halves(place).returncode == 5


@pytest.mark.parametrize("name", ["plain", "ranks", "both", "clock"])
def test_whichever_fails_is_told(place: Path, name: str):
    (place / name).touch()
    ended = halves(place)
    assert ended.returncode == 1
    assert f"FAILED test_it.py::test_{name}" in ended.stdout

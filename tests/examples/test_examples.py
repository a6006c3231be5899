"""Every example runs as a user would run it, and says what its docstring promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plait.specs.measurement_files import write_measurements
from tests.planner.machines import machine

EXAMPLES = Path(__file__).parents[2] / "examples"
SAYS = {
    "01_describe.py": "tensor rank 1 holds",
    "02_plan.py": "lost because",
    "03_verify.py": "REASSOCIATION",
    "04_train.py": "measured",
    "05_parallelize.py": "loss",
    "07_two_hosts.py": "held-out loss",
}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_it_runs(name, tmp_path):
    write_measurements(machine(cores=2), tmp_path / "measurements.json")  # known: no example has to measure this one
    ran = subprocess.run(
        [sys.executable, EXAMPLES / name],
        cwd=tmp_path,
        env={**os.environ, "PLAIT_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    if ran.stdout.startswith("skipped: "):
        pytest.skip(ran.stdout)
    assert SAYS[name] in ran.stdout
    for line in ran.stdout.splitlines():
        if line.startswith("report: "):
            assert Path(line.removeprefix("report: ")).is_file()

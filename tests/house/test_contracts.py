"""The import contracts of pyproject.toml hold here, and each is broken by one planted import.

The planting happens in a skeleton: a package of the same name in which every room exists and is empty, so that the
contracts are tried whole even while some rooms are still to be built.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.tree import PACKAGE, ROOT, contract, modules, project, room, rooms_above_the_torch_line

PLANTED = {
    # room.module: what it may not import
    "specs.early": "from plait.layers import stone",  # floors: a higher floor
    "verification.compare": "from plait.defects import stone",  # floors: what was planted stays unknown
    "plans.plan": "import numpy",  # torch-line
    "planner.search": "import torch.nn",  # torch-line
    "models.gpt": "from plait.sharding import stone",  # plain-models
    "data.loader": "def load():\n    from plait.planner import search",  # runtime-never-plans, hidden in a function
    "verification.reference": "from plait.training import step",  # independent-reference, through another room
    "training.step": "from plait.parallel import stone",  # (allowed by itself)
    "checkpoint.save": "from plait.checkpoint import load",  # no-cycles
    "checkpoint.load": "from plait.checkpoint import save",
}
FOUND = [
    "plait.specs.early -> plait.layers",
    "plait.verification.compare -> plait.defects",
    "plait.plans.plan -> numpy",
    "plait.planner.search -> torch",
    "plait.models.gpt -> plait.sharding",
    "plait.data.loader -> plait.planner",
    "plait.verification.reference -> plait.training.step",
    "plait.checkpoint",
]


def floors() -> list[str]:
    return [name for layer in contract("floors") for name in layer]


def write_skeleton(root: Path) -> None:
    """Every room as a folder with one empty module, `stone`."""
    for name in floors():
        folder = root / "plait" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "stone.py").touch()


def plant(root: Path, module: str, text: str) -> None:
    (root / "plait" / module.replace(".", "/")).with_suffix(".py").write_text(text + "\n")


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """import-linter with our contracts, on the package found at `root`."""
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    options = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", "--no-logo"]
    run = [sys.executable, "-c", command, *options]
    return subprocess.run(run, cwd=root, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    write_skeleton(tmp_path)
    (tmp_path / "plait" / "__init__.py").touch()
    return tmp_path


def test_the_contracts_hold():
    done = lint_imports(PACKAGE.parent)
    assert done.returncode == 0, done.stdout


def test_an_empty_house_breaks_nothing(skeleton):
    done = lint_imports(skeleton)
    assert done.returncode == 0, done.stdout


def test_every_contract_can_fail(skeleton):
    for module, text in PLANTED.items():
        plant(skeleton, module, text)
    done = lint_imports(skeleton)
    count = len(project()["tool"]["importlinter"]["contracts"])
    assert f"Contracts: 0 kept, {count} broken." in done.stdout
    assert [found for found in FOUND if found not in done.stdout] == []


def test_a_folder_without_a_floor_fails(skeleton):
    (skeleton / "plait" / "attic").mkdir()
    plant(skeleton, "attic.__init__", "")
    done = lint_imports(skeleton)
    assert done.returncode == 1
    assert "- plait.attic" in done.stdout


def test_every_contract_speaks_only_of_rooms_that_have_a_floor():
    ids = [c["id"] for c in project()["tool"]["importlinter"]["contracts"] if c["type"] == "layers"]
    names = {name for i in ids if i != "floors" for layer in contract(i) for name in layer}
    rooms = {name.split(".")[1] for name in names if name.startswith("plait.")}
    assert rooms <= set(floors())


def test_every_room_below_the_torch_line_never_plans():
    below = set(floors()) - rooms_above_the_torch_line(planner=True) - {"__main__", "cli", "api"}
    assert {name.removeprefix("plait.") for name in contract("runtime-never-plans")[-1]} == below


def test_the_types_are_strict_above_the_torch_line():
    strict = {Path(path).stem for path in project()["tool"]["pyright"]["strict"]}
    assert strict == rooms_above_the_torch_line(planner=True)


def test_every_room_of_ours_has_a_floor():
    assert {room(path) for path in modules()} - {None} <= set(floors())

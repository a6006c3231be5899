"""The files that the house tests read, parsed once, and the contracts of pyproject.toml.

A *room* is a folder below src/plait, or a module that stands there alone (errors, units, api).
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "plait"
PEERS = ROOT / "benchmarks" / "peers"  # other people's scripts, unchanged

Function = ast.FunctionDef | ast.AsyncFunctionDef


def python_files(*folders: str) -> list[Path]:
    """Our Python files below the folders of the repository; peers' scripts are not ours."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in found if not path.is_relative_to(PEERS))


def sources() -> list[Path]:
    """What the rules for source apply to."""
    return python_files("src", "examples", "benchmarks")


def modules() -> list[Path]:
    """The package's own modules."""
    return python_files("src/plait")


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(parse(path)) if isinstance(node, Function))


def where(path: Path, line: int | None = None) -> str:
    """A place as an editor opens it: src/plait/units.py:12."""
    return str(path.relative_to(ROOT)) + (f":{line}" if line else "")


def room(path: Path) -> str | None:
    """The room of a file: "specs" of src/plait/specs/job.py; None for the package's __init__ and for files outside."""
    if not path.is_relative_to(PACKAGE):
        return None
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return None if first == "__init__" else first


def dotted(path: Path) -> str:
    """The name to import: "plait.specs.job" of src/plait/specs/job.py."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def project() -> dict[str, dict]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def contract(name: str) -> list[set[str]]:
    """The layers of an import contract, highest first, without marks: [{"cli"}, {"api"}, ..., {"units", "errors"}]."""
    (found,) = (c for c in project()["tool"]["importlinter"]["contracts"] if c["id"] == name)
    return [{part.strip().strip("()") for part in layer.split(":")} for layer in found["layers"]]


def rooms_above_the_torch_line(*, planner: bool) -> set[str]:
    """Rooms that import no torch; without those that plan, those that import no numpy either."""
    layers = contract("torch-line")
    plans = {name for layer in layers[1:-1] for name in layer if name.startswith("plait.")}
    names = layers[-1] | (plans if planner else set())
    return {name.removeprefix("plait.") for name in names}

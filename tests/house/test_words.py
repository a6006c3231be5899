"""The house's words: names of files, opening paragraphs, `__all__`, and what may stand nowhere.

Each rule is a generator of findings about one file, so that a planted sentence can be shown to be found
(`test_each_rule_finds_what_it_forbids`); the rules then run over every file of ours.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.tree import PACKAGE, ROOT, modules, parse, python_files, room, sources, where

VAGUE = {"utils", "util", "common", "helpers", "helper", "misc"}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
HOME = re.compile(r"(?<![\w.])/(?:home|root|Users|workspace)/\w+")
FOREIGN_PICKLES = {"pickle", "cloudpickle", "dill", "shelve", "marshal", "joblib"}
FEWEST_WORDS = 8  # of an opening paragraph


# ---- names -----------------------------------------------------------------------------------------------------


def test_no_file_or_folder_has_a_vague_name():
    paths = python_files("src", "tests", "examples", "benchmarks")
    names = {where(path): {part.removesuffix(".py") for part in path.relative_to(ROOT).parts} for path in paths}
    assert [path for path, parts in names.items() if parts & VAGUE] == []


def test_there_is_one_level_of_folders():
    assert [where(path) for path in modules() if len(path.relative_to(PACKAGE).parts) > 2] == []


# ---- rules about one file ---------------------------------------------------------------------------------------


def opening_paragraph(tree: ast.Module, _: str | None) -> Iterator[int]:
    """Every module that says anything opens with a paragraph of substance."""
    docstring = ast.get_docstring(tree) or ""
    if tree.body and len(docstring.split()) < FEWEST_WORDS:
        yield 1


def swallowed(tree: ast.Module, _: str | None) -> Iterator[int]:
    """A bare except; a broad one that does nothing; suppress(Exception)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or names_in(node.type) & {"Exception", "BaseException"}
            if node.type is None or (broad and all(idle(statement) for statement in node.body)):
                yield node.lineno
        elif isinstance(node, ast.Call) and path_of(node.func).endswith("suppress"):
            yield from (node.lineno for argument in node.args if names_in(argument) & {"Exception", "BaseException"})


def idle(statement: ast.stmt) -> bool:
    """pass, ..., continue, break, and the return of nothing or of a constant."""
    value = getattr(statement, "value", None)
    says_nothing = isinstance(statement, ast.Expr | ast.Return) and (value is None or isinstance(value, ast.Constant))
    return says_nothing or isinstance(statement, ast.Pass | ast.Continue | ast.Break)


def cuda_by_name(tree: ast.Module, where_: str | None) -> Iterator[int]:
    """torch.cuda outside devices/: other vendors' devices go through torch.accelerator."""
    if where_ != "devices":
        yield from mentions(tree, "torch.cuda")


def pickles(tree: ast.Module, where_: str | None) -> Iterator[int]:
    """Pickle, and what reads it, outside launchers/ (which talk to their own processes only)."""
    if where_ != "launchers":
        for module in (*FOREIGN_PICKLES, "torch.load", "torch.save"):
            yield from mentions(tree, module)


def distributed_models(tree: ast.Module, where_: str | None) -> Iterator[int]:
    """torch.distributed in models/ (import-linter sees torch as one module)."""
    if where_ == "models":
        yield from mentions(tree, "torch.distributed")


RULES = [opening_paragraph, swallowed, cuda_by_name, pickles, distributed_models]


def path_of(node: ast.expr) -> str:
    """`torch.cuda.Stream` of that expression; "" of what is no dotted name."""
    if isinstance(node, ast.Name):
        return node.id
    base = path_of(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{base}.{node.attr}" if isinstance(node, ast.Attribute) and base else ""


def names_in(node: ast.expr) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def mentions(tree: ast.Module, module: str) -> Iterator[int]:
    """Lines that import the dotted name or reach it from an imported parent."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            found = [path_of(node)]
        else:
            continue
        if any(name == module or name.startswith(module + ".") for name in found):
            yield node.lineno


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file_keeps_the_rule(rule):
    assert [where(path, line) for path in sources() for line in rule(parse(path), room(path))] == [], rule.__doc__


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (opening_paragraph, "x = 1"),
        (opening_paragraph, '"""Too short."""'),
        (swallowed, "try:\n    f()\nexcept:\n    raise"),
        (swallowed, "try:\n    f()\nexcept Exception:\n    pass"),
        (swallowed, "try:\n    f()\nexcept (ValueError, Exception) as error:\n    return"),
        (swallowed, "with contextlib.suppress(Exception):\n    f()"),
        (cuda_by_name, "torch.cuda.synchronize()"),
        (cuda_by_name, "import torch.cuda"),
        (cuda_by_name, "from torch import cuda"),
        (pickles, "import pickle"),
        (pickles, "from pickle import loads"),
        (pickles, "torch.load(path)"),
        (distributed_models, "from torch import distributed as dist"),
    ],
)
def test_each_rule_finds_what_it_forbids(rule, text):
    assert list(rule(ast.parse(text), "models"))


@pytest.mark.parametrize(
    ("rule", "text", "where_"),
    [
        (opening_paragraph, "", "training"),
        (swallowed, "try:\n    f()\nexcept Exception as error:\n    report(error)", "training"),
        (swallowed, "try:\n    f()\nexcept KeyError:\n    pass", "training"),
        (cuda_by_name, "torch.accelerator.synchronize()", "training"),
        (cuda_by_name, "torch.cuda.synchronize()", "devices"),
        (pickles, "import pickle", "launchers"),
        (distributed_models, "import torch.distributed", "collectives"),
    ],
)
def test_no_rule_finds_what_is_allowed(rule, text, where_):
    assert list(rule(ast.parse(text), where_)) == []


# ---- words that may stand nowhere -------------------------------------------------------------------------------


def written_files() -> list[Path]:
    """Everything that a reader of the repository may open, in text."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "Makefile", ROOT / "pyproject.toml"]
    return [*python_files("src", "tests", "examples", "benchmarks"), *pages]


def lines_matching(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    lines = ((path, n, line) for path in paths for n, line in enumerate(path.read_text("utf-8").splitlines(), 1))
    return [where(path, n) for path, n, line in lines if pattern.search(line)]


def test_nothing_is_called_done_that_is_not():
    assert lines_matching(UNFINISHED, sources()) == []


def test_no_path_of_somebody_s_machine():
    assert HOME.search("open('" + "/home" + "/ada/data')"), "the rule must find what it forbids"
    assert lines_matching(HOME, written_files()) == []


# ---- __all__ ----------------------------------------------------------------------------------------------------


def top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those under `if` and `try` included."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try):
            for branch in (statement.body, statement.orelse, getattr(statement, "finalbody", [])):
                yield from top_level(branch)


def bound(statement: ast.stmt, *, imports: bool) -> Iterator[str]:
    """The names that a statement defines; with `imports`, those that it imports too."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign) and not is_type_variable(statement.value):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name))
    elif imports and isinstance(statement, ast.ImportFrom) and statement.module != "__future__":
        yield from (alias.asname or alias.name for alias in statement.names)


def is_type_variable(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Call) and path_of(value.func).split(".")[-1] in {"TypeVar", "ParamSpec"}


def visible(tree: ast.Module, *, imports: bool) -> set[str]:
    names = {name for statement in top_level(tree.body) for name in bound(statement, imports=imports)}
    return {name for name in names if not name.startswith("_")}


def declared(tree: ast.Module) -> list[str] | None:
    """The value of `__all__`; None where there is none."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and path_of(statement.targets[0]) == "__all__":
            return ast.literal_eval(statement.value)
    return None


@pytest.mark.parametrize("path", [p for p in modules() if not p.stem.startswith("_")], ids=where)
def test_all_equals_what_is_visible(path):
    names = declared(parse(path))
    assert names is not None, f"{where(path)} declares no __all__"
    assert sorted(set(names)) == sorted(names), f"{where(path)} repeats a name"
    assert set(names) == visible(parse(path), imports=False)


@pytest.mark.parametrize("path", [p for p in modules() if p.name == "__init__.py" and p.parent != PACKAGE], ids=where)
def test_a_room_s_door_shows_what_it_says(path):
    assert set(declared(parse(path)) or []) == visible(parse(path), imports=True)

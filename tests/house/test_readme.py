"""README.md and docs/*.md tell the truth: commands exist, Python speaks of what plait has, links lead somewhere.

What is read: ```console blocks (lines that begin with "$ "), ```python blocks, and relative links. Commands are not
run here (examples and the demo have their own tests), but a flag that was renamed, a command that was dropped or a
page that moved fails at once.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import pytest

from tests.house.tree import PACKAGE, ROOT, parse, where

BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)]*)?\)")
FLAG = re.compile(r"(?<![\w-])--?[a-zA-Z][\w-]*")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
Found = TypeVar("Found")
HAS_COMMANDS = any((PACKAGE / "cli").glob("*.py"))


def pages() -> list[Path]:
    return sorted(path for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")] if path.exists())


def on_every_page(read: Callable[[str], list[Found]]) -> Iterator[tuple[Path, Found]]:
    return ((page, found) for page in pages() for found in read(page.read_text("utf-8")))


def blocks(text: str, language: str) -> list[str]:
    return [body for name, body in BLOCK.findall(text) if name == language]


def commands(text: str) -> list[list[str]]:
    """The words of every command in the console blocks: [["plait", "plan", "job.toml", "--json"], ...]."""
    lines = [line for body in blocks(text, "console") for line in body.replace("\\\n", " ").splitlines()]
    return [words for line in lines if line.startswith("$ ") for words in simple_commands(line[2:])]


def simple_commands(line: str) -> Iterator[list[str]]:
    """ "a x | b && c" is a x, b and c; quotes and # as in a shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    for joined, words in groupby(lexer, key=lambda word: set(word) <= set("|&;")):
        if not joined:
            yield list(words)


def links(text: str) -> list[str]:
    """Relative links outside code blocks."""
    return [link for link in LINK.findall(BLOCK.sub("", text)) if "://" not in link and not link.startswith("mailto:")]


def attributes_of_plait(source: str) -> set[str]:
    """`load` and `check` of "plait.load(...)" and "from plait import check"."""
    tree = ast.parse(source)
    used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "plait"}
    imported = (n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module == "plait")
    return used | {alias.name for n in imported for alias in n.names}


def names_of_plait() -> set[str]:
    """What the package offers by name, read without importing it: `__all__`, and its rooms."""
    (offered,) = (
        ast.literal_eval(s.value)
        for s in parse(PACKAGE / "__init__.py").body
        if isinstance(s, ast.Assign) and ast.unparse(s.targets[0]) == "__all__"
    )
    return set(offered) | {path.stem for path in PACKAGE.iterdir()}


@pytest.fixture
def help_of(monkeypatch, capsys) -> Callable[[str], str]:
    """The help text of a subcommand, as a user sees it on a wide terminal; fails where there is no such command."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("LINES", "50")

    @cache
    def text(command: str) -> str:
        from plait.cli.main import main

        monkeypatch.setattr("sys.argv", ["plait", command, "--help"])
        capsys.readouterr()
        try:
            code = main()
        except SystemExit as end:
            code = end.code
        seen = capsys.readouterr()
        assert not code, f"there is no `plait {command}`: {seen.err}"
        return COLOUR.sub("", seen.out)

    return text


def test_there_is_a_readme_once_there_are_commands():
    assert (ROOT / "README.md").exists() or not HAS_COMMANDS


def test_every_command_exists_with_its_flags(help_of):
    for page, words in on_every_page(commands):
        if Path(words[0]).name == "plait" and len(words) > 1 and not words[1].startswith("-"):
            known = set(FLAG.findall(help_of(words[1])))
            used = {word.split("=")[0] for word in words[2:] if FLAG.fullmatch(word.split("=")[0])}
            assert used <= known, f"{where(page)}: `plait {words[1]}` knows no {', '.join(sorted(used - known))}"


def test_every_make_target_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for page, words in on_every_page(commands):
        named = {word for word in words[1:] if words[0] == "make" and "=" not in word and not word.startswith("-")}
        assert named <= targets, f"{where(page)}: `make` knows no {', '.join(sorted(named - targets))}"


def test_every_python_block_speaks_of_what_plait_has():
    for page, body in on_every_page(lambda text: blocks(text, "python")):
        used = attributes_of_plait(body)
        unknown = used - names_of_plait() if used else set()
        assert not unknown, f"{where(page)}: plait has no {', '.join(sorted(unknown))}"


def test_every_relative_link_leads_somewhere():
    dead = [(page, link) for page, link in on_every_page(links) if not (page.parent / link).exists()]
    assert [f"{where(page)}: {link}" for page, link in dead] == []


PAGE = """
See [the design](docs/design.md#floors) and [torch](https://pytorch.org).
```console
$ make test PYTHON=python3.12
1 passed
$ plait plan "my job.toml" --json \\
    --top=3 | head -n 3   # the best three; or all
```
```python
from plait import load
plan = plait.plan(load("job.toml"))
```
"""


def test_a_page_is_read_as_it_is_meant():
    plan = ["plait", "plan", "my job.toml", "--json", "--top=3"]
    assert commands(PAGE) == [["make", "test", "PYTHON=python3.12"], plan, ["head", "-n", "3"]]
    assert links(PAGE) == ["docs/design.md"]
    assert attributes_of_plait(blocks(PAGE, "python")[0]) == {"load", "plan"}

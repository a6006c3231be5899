"""What every command shares: its answer on stdout, its failure on stderr, `--json`, and the exit code.

    exit   0   yes, done                             130   interrupted
           1   the answer is no                      141   nobody reads what is written
           2   the input can't be used
           3   it broke while it ran

With `--json`, stdout holds exactly one document, whatever happens: while the command works, what anybody prints there
goes to stderr. Colours appear on a terminal only; rich is imported only then. What files and command lines say may be
anything: what a terminal would obey is written out (`visible`).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from plait.errors import Problem
from plait.specs.documents import finite
from plait.specs.wording import shown, visible

if TYPE_CHECKING:
    from plait.plans.planned import Caution

__all__ = [
    "Answer",
    "JsonFlag",
    "Line",
    "caution_line",
    "emit",
    "problem_line",
    "stdout_for_the_answer",
    "tell",
    "write_lines",
]

JsonFlag = Annotated[bool, typer.Option("--json", help="Answer with one JSON document.")]
Line = Sequence[tuple[str, str]]  # (style as rich names it, text): "bold", "yellow", ""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command ends with: the document of the contract, the same for people, and the exit code."""

    document: Mapping[str, Any]
    lines: Sequence[Line] = ()
    code: int = 0
    failed: bool = False  # a failure is told on stderr, an answer on stdout
    silent: bool = False  # another process tells it


def problem_line(problem: Problem) -> Line:
    """One line for one error: the key, what is wrong, what would be legal."""
    legal = problem.legal if isinstance(problem.legal, str) else ", ".join(shown(value) for value in problem.legal)
    line = [("bold red", problem.key), ("", f": {problem.message}")]
    return [*line, ("dim", f"; legal here: {legal}")] if legal else line


def caution_line(caution: Caution) -> Line:
    """One line for what is suspicious and no error: told as such, since it stands below errors of the same form."""
    return [("yellow", f"caution: {caution.key}: {caution.message}")]


def emit(answer: Answer, *, as_json: bool) -> int:
    """Write the answer where it belongs; its exit code, or 141 if nobody reads it, 3 if there is no room for it."""
    if answer.silent:
        return answer.code
    try:
        if as_json:
            print(json.dumps(finite(answer.document), indent=2, allow_nan=False), flush=True)
        else:
            write_lines(answer.lines, sys.stderr if answer.failed else sys.stdout)
    except BrokenPipeError:
        _discard_stdout()
        return 141
    except OSError as error:  # a full disk behind `> FILE`: neither yes nor no
        _discard_stdout()
        with contextlib.suppress(OSError):
            print(f"error: the answer can't be written: {error.strerror or error}", file=sys.stderr)
        return 3
    return answer.code


def tell(line: str) -> None:
    """Say on stderr, at once, what is going on."""
    print(_plain(line, sys.stderr), file=sys.stderr, flush=True)


def write_lines(lines: Sequence[Line], stream: TextIO) -> None:
    """Print styled lines: in colour on a terminal, plain elsewhere, never broken in two by us."""
    if not stream.isatty():
        for line in lines:
            print(_plain("".join(text for _, text in line), stream), file=stream)
        stream.flush()
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream)
    for line in lines:
        console.print(Text.assemble(*((_plain(text, stream), style) for style, text in line)), soft_wrap=True)


def _plain(text: str, stream: TextIO) -> str:
    """The text as the stream can show it, its line ends alone obeyed."""
    encoding = stream.encoding or "utf-8"
    seen = "\n".join(visible(line) for line in text.split("\n"))
    return seen.encode(encoding, "backslashreplace").decode(encoding)


@contextlib.contextmanager
def stdout_for_the_answer() -> Iterator[None]:
    """Send to stderr whatever is printed on stdout meanwhile, by libraries and by child processes too."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _discard_stdout() -> None:
    """Python flushes stdout once more at exit: let it go nowhere."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 1)

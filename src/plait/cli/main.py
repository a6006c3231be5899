"""`plait`: the table of commands, and the way from a command line to an exit code.

A command is a file here with one function, `command`, whose signature is its command line, whose docstring is its help,
and which returns an `Answer` or raises. It is imported when it is called (or listed by `--help`), and imports what is
heavy when it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from plait.cli.failures import failure, failure_of, interrupted, unread
from plait.cli.output import Answer, emit, stdout_for_the_answer
from plait.launchers.torchrun import place
from plait.specs.wording import nearest

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "check": "plait.cli.check",
    "plan": "plait.cli.plan",
    "simulate": "plait.cli.simulate",
    "verify": "plait.cli.verify",
    "train": "plait.cli.train",
    "bench": "plait.cli.bench",
    "generate": "plait.cli.generate",
    "demo": "plait.cli.demo",
    "profile": "plait.cli.profile",
    "evaluate": "plait.cli.evaluate",
    "doctor": "plait.cli.doctor",
}

_TOGETHER = {"train", "bench", "verify", "profile"}  # what several processes may be started for, by torchrun

_UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # typer keeps its parser's exceptions to itself


class _Commands(TyperGroup):
    """Commands that are imported by name."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            raise _UsageError(f"there is no command {cmd_name}; the nearest is {nearest(cmd_name, COMMANDS)[0]}")
        single = typer.Typer(add_completion=False)
        single.command(cmd_name)(import_module(COMMANDS[cmd_name]).command)
        return typer.main.get_command(single)


_app = typer.Typer(cls=_Commands, add_completion=False, pretty_exceptions_enable=False)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"plait {version('plait')}")
        raise typer.Exit


@_app.callback()
def _plait(
    version: Annotated[bool, typer.Option("--version", help="Which Plait it is.", callback=_say_version)] = False,
) -> None:
    """Know before you launch. Prove it is the same model. Then see how wrong the plan was."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's own; a bare `plait` asks for help) and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    as_json = "--json" in words and "--help" not in words
    if (refused := _alone(words[0])) is not None:
        return refused
    with stdout_for_the_answer() if as_json else nullcontext():
        answer = _answer(words)
    where = place()
    code = emit(answer, as_json=as_json and (where is None or where.rank == 0)) if answer else 0
    if where is not None:
        _end_beside_hanging_ranks(code)
    return code


def _alone(command: str) -> int | None:
    """Under torchrun, the exit code of a command that is for one process: told once. None: go on."""
    where = place()
    if where is None or command in _TOGETHER or (command == "--help" and where.rank == 0):
        return None
    if command == "--help":
        return 0
    if where.rank == 0:
        emit(failure("usage", f"plait {command} is for one process: call it without torchrun", 2), as_json=False)
    return 2


def _end_beside_hanging_ranks(code: int) -> None:
    from plait.launchers import end_where_python_would_wait

    end_where_python_would_wait(code)


def _answer(words: list[str]) -> Answer | None:
    """What the command says; None after a page of help."""
    try:
        result = _app(args=words, prog_name="plait", standalone_mode=False)
    except _UsageError as error:
        return failure("usage", f"{cast('Any', error).format_message()} (plait --help lists what there is)", 2)
    except (KeyboardInterrupt, typer.Abort):
        return interrupted()
    except SystemExit:  # typer's own, when nobody reads what the command prints
        return unread()
    except Exception as error:  # every other ending is told there
        return failure_of(error)
    return interrupted() if result == 130 else result or None


if __name__ == "__main__":
    sys.exit(main())

"""Files and functions stay small enough to be read in one sitting."""

from __future__ import annotations

from tests.house.tree import Function, functions, sources, where

LONGEST_FILE = 400
LONGEST_FUNCTION = 60
SHORT = 20
SHORT_SHARE = 0.6  # at least


def length(function: Function) -> int:
    """Lines from `def` to the last one, the docstring counted."""
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def test_there_is_source_to_measure():
    assert sources()


def test_no_file_is_past_400_lines():
    lines = {where(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    assert {path: count for path, count in lines.items() if count > LONGEST_FILE} == {}


def test_no_function_is_past_60_lines():
    lengths = {f"{where(path, f.lineno)} {f.name}": length(f) for path in sources() for f in functions(path)}
    assert {name: count for name, count in lengths.items() if count > LONGEST_FUNCTION} == {}


def test_most_functions_are_under_20_lines():
    lengths = [length(f) for path in sources() for f in functions(path)]
    short = sum(count < SHORT for count in lengths)
    assert short >= SHORT_SHARE * len(lengths), f"{short} of {len(lengths)} functions are under {SHORT} lines"

"""Columns of words to the left, of numbers to the right, and no blanks at the end of a line."""

from plait.cli.tables import columns


def test_columns_stand_under_one_another():
    assert columns([["a", "10"], ["long", "2"], ["b", ""]]) == ["a     10", "long   2", "b"]


def test_a_cell_is_one_line():
    assert columns([["a\nb", "1"], ["long", "2"]]) == [r"a\nb  1", "long  2"]


def test_columns_of_words_begin_at_one_place():
    rows = [["plan", "step", "why"], ["dp2", "1 s", "best"], ["tp2", "12 s", "slower by far"]]
    assert columns(rows, words=(0, 2)) == ["plan  step  why", "dp2    1 s  best", "tp2   12 s  slower by far"]

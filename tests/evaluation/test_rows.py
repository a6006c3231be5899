"""A table that is no table, cells that are no numbers, and what is read all the same."""

from __future__ import annotations

from math import isfinite
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.errors import UnusableInput
from plait.evaluation.rows import read_rows

HEAD = "model,gpu,n_gpus,gbs,seq,iter_s"


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "runs.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"", "empty"),
        (b"\x00\x01\x02", "zero bytes"),
        (HEAD.replace(",", ";") + "\nGPT;A100;8;64;2048;1,5\n", "separates its columns by ';'"),
        (HEAD.replace(",", "\t"), "separates its columns by"),
        ("model,gpu\nx,y\n", "lacks the columns n_gpus, gbs, seq, iter_s"),
        (f"{HEAD},gpu\n", "twice"),
        (f'"{HEAD}\n1,2', "names can't be read as comma-separated"),
    ],
)
def test_what_is_no_such_table_is_refused_in_words(tmp_path: Path, text: str | bytes, word: str) -> None:
    with pytest.raises(UnusableInput, match=word):
        read_rows(written(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match=r"nowhere\.csv"):
        read_rows(tmp_path / "nowhere.csv")


def test_columns_in_any_order_with_others_beside_them_and_a_mark_before_them(tmp_path: Path) -> None:
    text = "\ufeffiter_s,SEQ,extra,gbs,n_gpus,gpu,model\n1.5,2048,x,64,8,A100,GPT\n\n,,,,,,\n"
    (row,) = read_rows(written(tmp_path, text))
    assert row.number("iter_s") == 1.5
    assert row.whole("seq") == 2048
    assert row.line == 2
    assert row.case == "line 2"
    assert not row.problems


def test_a_zero_byte_takes_its_own_line_alone(tmp_path: Path) -> None:
    text = f"{HEAD}\nGPT,A100,8,64,2048,1\nG\0T,A100,8,64,2048,1\n"
    first, second = read_rows(written(tmp_path, text))
    assert not first.problems
    assert second.problems
    with pytest.raises(UnusableInput, match="UTF-16"):
        read_rows(written(tmp_path, text.encode("utf-16")))


@pytest.mark.parametrize(
    "cell", ["1_0", "٣", "８", "0x10", "1e99999", "infinity", "nan", "-1", "0", "1e-300", "2e12", "1,5"]
)
def test_only_plain_decimals_are_numbers(tmp_path: Path, cell: str) -> None:
    (row,) = read_rows(written(tmp_path, f'{HEAD}\nGPT,A100,8,64,2048,"{cell}"\n'))
    assert "column iter_s" in row.problems[0]


@pytest.mark.parametrize("cell", ["2,048", "2 048", "2\u202f048", "2,048.0", "2048.0", "2.048e3", " 2048 "])
def test_counts_may_have_their_thousands_set_apart(tmp_path: Path, cell: str) -> None:
    (row,) = read_rows(written(tmp_path, f'{HEAD}\nGPT,A100,8,64,"{cell}",1\n'))
    assert (row.whole("seq"), row.problems) == (2048, ())


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("1,234.5", 1234.5),
        ("1 234.5", 1234.5),
        ("1 234", 1234.0),
        ("1,234,567", 1234567.0),
        ("1,234", None),
        ("1,23.4", None),
    ],
)
def test_a_comma_may_be_a_point_where_a_number_needs_not_be_whole(
    tmp_path: Path, cell: str, number: float | None
) -> None:
    (row,) = read_rows(written(tmp_path, f'{HEAD}\nGPT,A100,8,64,2048,"{cell}"\n'))
    assert row.number("iter_s") == number
    assert bool(row.problems) is (number is None)


@pytest.mark.parametrize("cell", ["-", "–", "—", "?", "n/a", "NA", "None", "null", "unknown", "not stated"])
def test_a_cell_that_says_nothing_states_nothing(tmp_path: Path, cell: str) -> None:
    (row,) = read_rows(written(tmp_path, f"{HEAD},cp,mem_gib\nGPT,A100,8,64,2048,1,{cell},{cell}\n"))
    assert (row.problems, row.whole("cp"), row.number("mem_gib")) == ((), None, None)


def test_malformed_cells_have_their_line_and_column(tmp_path: Path) -> None:
    text = (
        f"{HEAD},vpp,mem_gib\nGPT,A100,8,6.5,2048,-1,interleaved,OOM\nGPT,A100,8,64,2048,1\nGPT,A100,nan,64,2048,1,,\n"
    )
    first, second, third = read_rows(written(tmp_path, text))
    assert [problem.split(":")[0] for problem in first.problems] == ["line 2, column gbs", "line 2, column iter_s"]
    assert first.text("vpp") == "interleaved"
    assert first.text("mem_gib") == "oom"
    assert second.problems == ("line 3 has 6 cells, and the first line names 8 columns",)
    assert "column n_gpus" in third.problems[0]


def test_a_line_that_stands_there_twice_is_known(tmp_path: Path) -> None:
    line = "GPT,A100,8,64,2048,1"
    rows = read_rows(written(tmp_path, "\n".join([HEAD, line, line.replace("2048", "1024"), line, line])))
    assert [row.repeats for row in rows] == [None, None, 2, 2]


def test_a_count_that_nobody_could_look_at_one_by_one_is_malformed(tmp_path: Path) -> None:
    text = f"{HEAD},layers,gpus_per_node\nGPT,A100,999999999989,64,2048,1,1000000000,999999999988\n"
    (row,) = read_rows(written(tmp_path, text))
    assert [problem.partition(": ")[2] for problem in row.problems] == [
        "'1000000000' is not a whole number from 1 to 65,536",
        "'999999999989' is not a whole number from 1 to 1,048,576",
        "'999999999988' is not a whole number from 1 to 1,048,576",
    ]


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ('"open,quote', "model"),
        ('GPT,"A100,8,64,2048,1', "gpu"),
        ('GPT,A100,8,64,2048,"1" s', "iter_s"),
        ('GPT,A100,8,64,2048,1,"more', "7"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_quote_nobody_closed_is_one_malformed_row(tmp_path: Path, line: str, column: str, end: str) -> None:
    good = 'GPT,A100,8,64,2048,"1.5"'
    rows = read_rows(written(tmp_path, end.join([HEAD, good, line, good, *[good] * 60])))
    assert [row.line for row in rows] == list(range(2, 65))
    assert [row.line for row in rows if row.problems] == [3]
    assert rows[1].problems[0].startswith(f"line 3, column {column}: ")
    assert {row.number("iter_s") for row in rows if not row.problems} == {1.5}


def test_a_quoted_cell_may_have_lines_of_its_own(tmp_path: Path) -> None:
    first, second = read_rows(
        written(tmp_path, f'{HEAD},notes\nGPT,A100,8,64,2048,1,"two\nlines"\nGPT,A100,8,64,2048,1,\n')
    )
    assert (first.line, second.line) == (2, 4)
    assert first.text("notes") == "two\nlines"
    assert not first.problems


@settings(max_examples=200)
@given(st.text(max_size=200))
def test_of_any_text_each_row_is_read_or_has_its_problem(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = written(tmp_path_factory.mktemp("drawn"), f"{HEAD}\n{text}")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    rows = read_rows(path)
    filled = [number for number, line in enumerate(lines, 2) if any(cell.strip() for cell in line.split(","))]
    assert {row.line for row in rows} <= set(filled)
    assert '"' in text or [row.line for row in rows] == filled
    for row in rows:
        assert all(isfinite(number) and number > 0 for number in row.numbers.values())
        assert all(problem.startswith(f"line {row.line}") for problem in row.problems)
        said = any(map(str.isalnum, lines[row.line - 2]))  # more than dashes
        assert row.problems or len(row.texts) + len(row.numbers) > 0 or not said

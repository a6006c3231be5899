"""Text: what is read, what is refused and with which words, and a division without overlap."""

from __future__ import annotations

import sysconfig
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.data.corpus import Document, read_text, split
from plait.errors import UnusableInput

texts = st.lists(st.text(alphabet="ab\né", min_size=1, max_size=30), min_size=1, max_size=8)


def documents(contents: list[str]) -> list[Document]:
    return [Document(name=str(number), content=content.encode()) for number, content in enumerate(contents)]


def test_paths_and_globs_in_order_each_file_once(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name, content in (("b.txt", "b"), ("a.txt", "a"), ("deep/er/c.txt", "c"), ("d.md", "d"), ("e.txt", "")):
        (tmp_path / name).write_bytes(content.encode())
    found = read_text([str(tmp_path / "d.md"), str(tmp_path / "**/*.txt"), str(tmp_path / "a.txt")])
    assert [document.content for document in found] == [b"d", b"a", b"b", b"c"]
    assert found[0].name == str(tmp_path / "d.md")
    assert read_text(str(tmp_path / "d.md")) == found[:1]


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").write_bytes(b"one\r\n")
    assert read_text(str(tmp_path / "a[1].txt"))[0].content == b"one\r\n"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("missing.txt", r"missing.txt does not exist .*: correct the path"),
        ("*.none", r"matches no file .*folders of any depth"),
        (".", r"is a directory: name its files by a glob"),
        ("latin.txt", r"latin.txt is not UTF-8 text at byte 3: convert it"),
        ("empty.txt", r"is empty: name at least one file"),
    ],
)
def test_what_can_not_be_used_is_named_with_a_remedy(
    item: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "latin.txt").write_bytes("abcé".encode("latin-1"))
    (tmp_path / "empty.txt").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnusableInput, match=message):
        read_text(item)


def test_no_text_at_all() -> None:
    with pytest.raises(UnusableInput, match="is empty"):
        read_text([])


def test_an_unreadable_file_is_named_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")  # root may read everything: chmod would prove nothing

    (tmp_path / "a.txt").write_text("a")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UnusableInput, match=r"a.txt can't be read \(Permission denied\)"):
        read_text(str(tmp_path / "a.txt"))


def test_the_standard_library_is_python_s_own_source() -> None:
    found = read_text("python-stdlib")
    names = [Path(document.name).relative_to(sysconfig.get_path("stdlib")) for document in found]
    assert Path("argparse.py") in names
    assert Path("json/decoder.py") in names
    assert not [name for name in names if {"site-packages", "test", "tests", "idle_test"} & set(name.parts)]
    assert all(name.suffix == ".py" for name in names)
    assert sum(len(document.content) for document in found) > 5_000_000
    assert read_text("python-stdlib") == found


def test_a_python_without_sources_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(UnusableInput, match="keeps no sources"):
        read_text("python-stdlib")


def test_a_source_that_is_not_utf8_is_left_out_of_the_standard_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "good.py").write_text("x = 1\n")
    (tmp_path / "bad.py").write_bytes(b"# \xe9\n")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert [Path(document.name).name for document in read_text("python-stdlib")] == ["good.py"]


@given(contents=texts, fraction=st.floats(0, 1))
def test_the_parts_hold_every_byte_once_and_stay_text(contents: list[str], fraction: float) -> None:
    training, validation = split(documents(contents), fraction)
    whole = dict.fromkeys(map(str, range(len(contents))), b"")
    for document in training + validation:
        document.content.decode()
        whole[document.name] += document.content
    assert whole == {str(number): content.encode() for number, content in enumerate(contents)}
    assert len({document.name for document in training} & {document.name for document in validation}) <= 1


@pytest.mark.parametrize("count", [1, 2, 50])
def test_the_validation_part_is_the_fraction_up_to_a_line(count: int) -> None:
    contents = ["line of text\n" * (5000 // count)] * count
    training, validation = split(documents(contents), 0.1)
    total = sum(len(content) for content in contents)
    held = sum(len(document.content) for document in validation)
    assert 0.1 * total - 13 <= held <= 0.1 * total
    assert all(document.content.endswith(b"\n") for document in training + validation)


def test_the_validation_documents_are_spread_over_the_text() -> None:
    _, validation = split(documents([f"{number}\n" for number in range(1000, 2000)]), 0.1)
    numbers = sorted(int(document.content) for document in validation)
    assert len(numbers) == 100
    assert numbers[0] < 1100
    assert numbers[-1] > 1900
    assert max(after - before for before, after in pairwise(numbers)) < 100


def test_a_text_of_one_line_is_cut_between_characters() -> None:
    training, validation = split(documents(["é" * 1001]), 0.5)
    assert (training[0].content.decode(), validation[0].content.decode()) == ("é" * 501, "é" * 500)

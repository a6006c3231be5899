"""What is written whole: links, pipes and devices stay what they are; what fails leaves nothing behind."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from plait.specs.whole_files import write_whole


def test_a_file_is_replaced_and_a_link_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    link.symlink_to(real)
    write_whole(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link", "real"]


def test_what_a_link_points_to_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "real").read_text() == "new"
    assert (tmp_path / "link").is_symlink()


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe, heard = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()), daemon=True)
    reader.start()
    write_whole(pipe, "words")
    reader.join(10)
    assert heard == ["words"]
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", ["x" * 260, "missing/file"])
def test_what_can_t_be_written_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match=r"too long|No such file"):
        write_whole(tmp_path / name, "words")
    assert not list(tmp_path.iterdir())

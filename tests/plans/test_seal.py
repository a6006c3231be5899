"""Whose file it is: as Plait wrote it, to the letter, or anybody's."""

from __future__ import annotations

import pytest

from plait.plans.seal import origin, sealed

TEXT = "# data 2\n\n[plan]\ndata = 2\n"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "plan.toml"


@pytest.mark.parametrize(
    ("written", "whose"),
    [
        (sealed(TEXT), "Plait's"),
        (sealed(sealed(TEXT)), "Plait's"),
        (sealed(TEXT).replace("data = 2", "data = 4"), "edited"),
        (sealed(TEXT).replace("\n", "\r\n"), "edited"),
        (sealed(TEXT) + "zero = 1\n", "edited"),
        (sealed(TEXT).rstrip(), "edited"),
        (TEXT, "somebody's"),
        ("", "somebody's"),
    ],
)
def test_a_letter_makes_it_another_s(path, written, whose):
    path.write_bytes(written.encode())
    assert origin(path) == whose


def test_what_can_t_be_read_is_somebody_s(path):
    assert origin(path) == "somebody's"
    path.write_bytes(b"\xff\xfe")
    assert origin(path) == "somebody's"
    path.unlink()
    path.mkdir()
    assert origin(path) == "somebody's"

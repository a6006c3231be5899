"""There is one place to keep things, and an empty variable does not move it."""

from __future__ import annotations

from pathlib import Path

import pytest

from plait.specs.cache import cache_directory
from plait.specs.measurement_files import default_path

USUAL = Path.home() / ".cache" / "plait"


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({"PLAIT_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, Path("/a")),
        ({"XDG_CACHE_HOME": "/b"}, Path("/b/plait")),
        ({"PLAIT_CACHE": "", "XDG_CACHE_HOME": ""}, USUAL),
        ({}, USUAL),
    ],
)
def test_where_things_are_kept(environment: dict[str, str], place: Path):
    assert cache_directory(environment) == place
    assert default_path(environment).parent == place

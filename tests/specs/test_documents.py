"""Numbers that JSON has not become null, however deep they lie; all else stays."""

from __future__ import annotations

import json
from math import inf, nan

from plait.specs.documents import finite


def test_what_is_not_finite_is_null():
    assert finite({"a": (1.0, nan), "b": [{"c": -inf}], "d": "nan"}) == {
        "a": [1.0, None],
        "b": [{"c": None}],
        "d": "nan",
    }
    assert finite(True) is True


def test_strict_json_takes_it():
    assert json.dumps(finite([inf, 2]), allow_nan=False) == "[null, 2]"

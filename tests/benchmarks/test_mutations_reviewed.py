"""What a person said of a mutation is of a place that there still is."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from mutation_summary import moved, reviewed


def test_every_reviewed_mutation_is_still_in_the_source() -> None:
    assert moved() == ()


def test_each_has_a_judgement_and_a_reason() -> None:
    assert {one["judgement"] for one in reviewed().values()} == {"equivalent", "gap"}
    assert all(one["reason"] for one in reviewed().values())

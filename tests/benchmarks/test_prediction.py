"""The accuracy experiment's own parts: which plans it takes, and that what is refused is refused for a reason."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from plait.api import check, load
from plait.plans.legality import is_legal

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # as its scripts find each other

from benchmarks.prediction import MODELS, chosen, refused, settings


def test_the_best_and_the_worst_are_among_the_chosen():
    assert chosen(list(range(100)), 5) == [0, 25, 50, 74, 99]
    assert chosen([1, 2], 60) == [1, 2]


@pytest.mark.parametrize("rate", ["none", "1gbit"])
def test_every_setting_s_job_is_legal(tmp_path, rate):
    found = list(settings(tmp_path, tuple(MODELS), (2, 4), (rate,)))
    assert len({one.folder for one in found}) == 4
    for one in found:
        job = load(one.write_job())
        assert check(job).ok
        assert (job.cluster.ranks, job.cluster.nodes) == (one.ranks, one.hosts)


def test_refused_combinations_are_illegal_and_for_the_ranks_there_are(tmp_path):
    (one,) = settings(tmp_path, ("tiny",), (2,), ("none",))
    job = load(one.write_job())
    found = list(refused(job))
    assert len(found) > 12
    for choices in found:
        assert choices["data"] * choices["tensor"] * choices["pipeline"] == 2
    assert is_legal(job)

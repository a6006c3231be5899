"""Rank 0 leads, another follows: what differs on the other host is refused there, in words. Without a network."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from plait.errors import UnusableInput
from plait.training import hosts
from plait.training.hosts import follow, lead, prepared_tokens
from plait.training.rank_trainer import Assignment
from plait.training.run_directory import RunDirectory
from tests.training.runs import tiny


@dataclass
class World:
    """Hears what was said, and no more."""

    rank: int
    local_rank: int = 0
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> SimpleNamespace:
        return SimpleNamespace(host=self.rank, local_rank=self.local_rank)

    def say(self, kind: str, body: Any = None) -> None:
        self.said[kind] = body

    def hear(self, kind: str, sender: int, seconds: float) -> Any:
        return self.said[kind]

    def hear_all(self, kind: str, seconds: float) -> list[Any]:
        if self.rank > 0:
            raise StopIteration("ready")
        return []


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What rank 0 has said, a file that shows its directory, and the job."""
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hosts, "_LOOKING_SECONDS", 0.2)
    job, plan = tiny(tmp_path)
    run = RunDirectory.create(tmp_path / "run")
    world = World(0)
    dataset = prepared_tokens(job)
    lead(world, Assignment(job=job, plan=plan, weights=run.weights, tokens=dataset.folder), dataset, run, 10.0)  # pyright: ignore[reportArgumentType]
    assert list(run.path.iterdir()) == [], "the token is gone"
    (run.path / world.said["briefing"]["token"]).touch()
    return SimpleNamespace(said={"briefing": world.said["briefing"]}, run=run, job=job)


def follower(told: Any, *, local_rank: int = 0, **said: Any) -> Any:
    return World(1, local_rank, told.said | said)


def test_one_that_can_follow_is_ready(told: Any) -> None:
    world = follower(told)
    with pytest.raises(StopIteration, match="ready"):
        follow(world, told.job, told.run)
    assert world.said["tokens"]["digest"] == told.said["briefing"]["tokens"]["digest"]


def test_another_job_is_refused_by_its_keys(told: Any) -> None:
    other = replace(told.job, training=replace(told.job.training, learning_rate=0.5, seed=3))
    with pytest.raises(UnusableInput, match=r"differ in training\.learning_rate, training\.seed"):
        follow(follower(told), other, told.run)


def test_another_directory_is_refused(told: Any, tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="is not rank 0's directory"):
        follow(follower(told), told.job, RunDirectory(tmp_path / "elsewhere"))


@pytest.mark.parametrize("local_rank", [0, 1])
def test_other_tokens_are_refused(told: Any, tmp_path: Path, local_rank: int) -> None:
    """By the rank that prepares them, and by those beside it."""
    (tmp_path / "text.txt").write_text("another text altogether, of some length\n" * 100)
    tokens = {"folder": "there", "digest": "another"}
    with pytest.raises(UnusableInput, match="gives other tokens than rank 0's"):
        follow(follower(told, local_rank=local_rank, **({"tokens": tokens} if local_rank else {})), told.job, told.run)

"""One rank's life: what it tells, what it measures, and a validation that counts each held-out token once."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from plait.data.dataset import load_tokens, prepare_tokens
from plait.data.loader import validation_batches
from plait.models.loss import IGNORED
from plait.schedules.action import COMPUTE
from plait.specs.job import Job
from plait.training import rank_trainer
from plait.training.measures import RankMeasure
from plait.training.rank_trainer import VALIDATION_TOKENS, Assignment, train_on_rank
from tests.training.runs import LENGTH, tiny


def tokens_of(job: Job, place: Path) -> Path:
    return prepare_tokens(
        text=job.data.text,
        tokenizer=job.data.tokenizer,
        validation_fraction=job.data.validation_fraction,
        sequence_length=job.training.sequence_length,
        vocab=job.model.vocab,
        cache=place / "cache",
    ).folder


def lived(run_on_ranks: Any, place: Path, ranks: int = 1, **changes: Any) -> tuple[list[RankMeasure], list[Any]]:
    """Each rank's measures, and what was told, by whom."""
    job, plan = tiny(place, **changes)
    assignment = Assignment(job=job, plan=plan, weights=place / "weights", tokens=tokens_of(job, place))
    told: list[Any] = []
    measures = run_on_ranks(ranks, train_on_rank, assignment, on_event=lambda rank, event: told.append((rank, event)))
    return measures, told


def test_one_rank_speaks_for_all(run_on_ranks: Any, tmp_path: Path) -> None:
    measures, told = lived(run_on_ranks, tmp_path, 2, cluster={"ranks": 2}, plan={"pipeline": 2})
    assert {rank for rank, _ in told} == {1}, "the last stage knows the loss"
    steps = [event for _, event in told if event["event"] == "step"]
    assert [event["step"] for event in steps] == [1, 2, 3, 4, 5, 6]
    assert [event["step"] for event in steps if event["validation_follows"]] == [4, 6]
    assert len(measures) == 2
    for measure in measures:
        assert measure.weight_bytes == measure.gradient_bytes > 0
        assert len(measure.timelines) == 4, "the steps after the warm-up"
        for step in measure.timelines:
            computing = [timed for timed in step if timed.action.kind in COMPUTE]
            assert len(computing) == 2 * len({timed.action.microbatch for timed in computing})
            assert all(before.end <= after.start for before, after in pairwise(computing))


def test_a_step_s_terms_are_its_seconds(run_on_ranks: Any, tmp_path: Path) -> None:
    """Of one measured step: medians of several add up only nearly."""
    (measure,), _ = lived(run_on_ranks, tmp_path, training={"steps": 3, "validate_every": 9})
    terms = measure.terms
    total = terms.compute + terms.bubble + terms.optimizer + sum(terms.exposed.values())
    assert total == pytest.approx(measure.step_seconds)


@pytest.mark.parametrize(("steps", "measured"), [(1, 1), (2, 2), (3, 1), (6, 4)])
def test_the_first_steps_are_measured_only_if_there_are_no_others(
    run_on_ranks: Any, tmp_path: Path, steps: int, measured: int
) -> None:
    (measure,), _ = lived(run_on_ranks, tmp_path, training={"steps": steps, "warmup_steps": 0})
    assert len(measure.timelines) == measured


def train_briefly_remembered(assignment: Assignment) -> RankMeasure:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rank_trainer, "_MEASURED_STEPS", 2)
        return train_on_rank(assignment)


def test_a_long_run_is_measured_on_its_last_steps(run_on_ranks: Any, tmp_path: Path) -> None:
    job, plan = tiny(tmp_path)
    assignment = Assignment(job=job, plan=plan, weights=tmp_path / "weights", tokens=tokens_of(job, tmp_path))
    assert len(run_on_ranks(1, train_briefly_remembered, assignment)[0].timelines) == 2


def test_validation_counts_each_held_out_token_once_whatever_the_batch(run_on_ranks: Any, tmp_path: Path) -> None:
    losses: list[list[float]] = []
    for batch, ranks in ((1, 1), (4, 2), (14, 2)):
        training = {"precision": "fp64", "global_batch": batch, "steps": 1, "learning_rate": 0.0}
        plan = {"data": ranks, "microbatch": 1}
        _, told = lived(run_on_ranks, tmp_path, ranks, training=training, cluster={"ranks": ranks}, plan=plan)
        losses.append([event["loss"] for _, event in told if event["event"] == "validation"])
    assert [len(one) for one in losses] == [2, 2, 2]
    before = [one[0] for one in losses]
    assert before == pytest.approx([before[0]] * 3, rel=1e-13)
    assert [one[1] for one in losses] == pytest.approx(before, rel=1e-13), "a rate of 0 learns nothing"


@pytest.mark.parametrize("batch", [1, 4, 14])
def test_every_target_but_the_first_token_comes_once(tmp_path: Path, batch: int) -> None:
    job, _ = tiny(tmp_path)
    part = load_tokens(tokens_of(job, tmp_path)).validation
    batches = list(validation_batches(part, sequence_length=LENGTH, global_batch=batch, max_sequences=10**6))
    targets = [target for one in batches for target in one.targets.flatten().tolist() if target != IGNORED]
    assert targets == part.tokens[1:].tolist()
    assert sum(one.target_count for one in batches) == len(targets)


def test_of_a_long_held_out_part_the_first_tokens_are_looked_at(run_on_ranks: Any, tmp_path: Path) -> None:
    job, plan = tiny(tmp_path, data={"validation_fraction": 0.5}, training={"steps": 1})
    assignment = Assignment(job=job, plan=plan, weights=tmp_path / "weights", tokens=tokens_of(job, tmp_path))
    held_out = len(load_tokens(assignment.tokens).validation.tokens)
    assert 5 * LENGTH < held_out < VALIDATION_TOKENS
    assert run_on_ranks(1, targets_seen, VALIDATION_TOKENS, assignment) == [2 * (held_out - 1)]
    assert run_on_ranks(1, targets_seen, 5 * LENGTH, assignment) == [2 * 5 * LENGTH]


def targets_seen(most: int, assignment: Assignment) -> int:
    """By both validations, before the step and after it, of at most so many tokens each."""
    seen: list[int] = []

    def counted(*args: Any, **options: Any) -> Any:
        for batch in validation_batches(*args, **options):
            seen.append(batch.target_count)
            yield batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rank_trainer, "VALIDATION_TOKENS", most)
        patch.setattr(rank_trainer, "validation_batches", counted)
        train_on_rank(assignment)
    return sum(seen)

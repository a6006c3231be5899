"""Whole runs, seen from their parent: what they leave, what they say when the disk, the text or a rank fails."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from plait import api
from plait.checkpoint.manifest import read_manifest
from plait.data.tokenizer import load_tokenizer
from plait.errors import IllegalJob, RankFailure, UnusableInput
from plait.inference.saved_run import load_run
from plait.launchers import RankPool, emit
from plait.planner.prices import JobPrices
from plait.planner.simulator import played, state
from plait.plans.files import read_plan
from plait.plans.plan import Plan
from plait.plans.prediction import prediction_from_table
from plait.specs.files import read_job
from plait.specs.job import Job
from plait.training.measures import RankMeasure
from plait.training.rank_trainer import Assignment, train_on_rank
from plait.training.result import TrainingResult
from plait.training.run_directory import RunDirectory
from plait.training.trainer import train as train_under
from tests.contract.golden import assert_shape, golden
from tests.training.runs import BATCH, LENGTH, MACHINE, STEPS, forked, strict, tiny

BEFORE_STEP_1 = ("job.toml", "model.json", "plan.toml", "prediction.json", "tokenizer.json")


@dataclass
class Ran:
    job: Job
    plan: Plan
    result: TrainingResult
    events: list[dict[str, Any]] = field(default_factory=list)
    files: list[tuple[bytes, ...]] = field(default_factory=list)  # those of BEFORE_STEP_1, at each event

    @property
    def run(self) -> RunDirectory:
        return self.result.run


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, rank_pools: Any) -> Ran:
    """Six steps on two replicas."""
    place = tmp_path_factory.mktemp("ran")
    job, plan = tiny(place, cluster={"ranks": 2}, plan={"data": 2})
    events: list[dict[str, Any]] = []
    files: list[tuple[bytes, ...]] = []

    def take(event: Any) -> None:
        events.append(event)
        files.append(tuple((place / "run" / name).read_bytes() for name in BEFORE_STEP_1))

    with forked(rank_pools, place):
        result = api.train(job, plan, run=place / "run", measurements=MACHINE, samples=["line "], on_event=take)
    return Ran(job, plan, result, events, files)


def test_what_was_predicted_is_there_before_step_1_and_never_altered(ran: Ran) -> None:
    assert ran.events[0]["event"] == "validation"
    assert ran.events[0]["step"] == 0
    after = tuple((ran.run.path / name).read_bytes() for name in BEFORE_STEP_1)
    assert set(ran.files) == {after}


def test_the_prediction_is_what_the_simulator_says(ran: Ran) -> None:
    table = strict(ran.run.prediction.read_text())
    assert prediction_from_table(table) == ran.result.prediction
    assert [len(lane) for lane in table["timeline"]] == [4]  # forward and backward, of two microbatches
    assert table["guesses"] == list(ran.result.guesses), "where it lies outside what was measured"
    assert any("products lie outside the measured shapes" in guess for guess in ran.result.guesses)


def test_what_it_ran_is_read_back_equal(ran: Ran) -> None:
    assert read_job(ran.run.job) == ran.job
    file = read_plan(ran.run.plan, ran.job)
    assert (file.plan, file.prediction) == (ran.plan, ran.result.prediction)
    assert load_tokenizer(ran.run.tokenizer).encode("é") == [0xC3, 0xA9]


def test_one_line_a_step(ran: Ran) -> None:
    lines = [strict(line) for line in ran.run.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert {line["tokens"] for line in lines} == {BATCH * LENGTH}
    assert {line["predicted_seconds"] for line in lines} == {ran.result.prediction.step_seconds}
    assert all(line["seconds"] > 0 for line in lines)
    assert [line["step"] for line in lines if "validation_loss" in line] == [4, 6]
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_progress_is_told_as_it_comes(ran: Ran) -> None:
    told = [(event["event"], event["step"]) for event in ran.events]
    steps = [("step", step) for step in range(1, STEPS + 1)]
    assert told == [("validation", 0), *steps[:4], ("validation", 4), *steps[4:], ("validation", 6)]
    assert all(event["steps"] == STEPS for event in ran.events)


def test_what_was_measured(ran: Ran) -> None:
    table, result = strict((ran.run.path / "measured.json").read_text()), ran.result
    assert_shape(table, golden("train")["measured"])
    assert set(table["terms"]) == {"compute", "bubble", "optimizer", "exposed"}
    for kind in ("weight_bytes", "gradient_bytes", "optimizer_bytes"):
        assert tuple(table[kind]) == getattr(result.prediction, kind)
    assert [step for step, _ in table["validations"]] == [0, 4, 6]
    assert table["tokens_per_second"] == pytest.approx(BATCH * LENGTH / table["step_seconds"])
    assert len(table["memory_bytes"]) == 2
    assert table["timeline"][0][0][1] == 0.0
    assert table["machine"]["cores"] >= 1


def test_measured_memory_is_that_of_the_model_not_of_libraries(ran: Ran) -> None:
    assert all(0 < measured < 8 * 2**20 for measured in ran.result.measured.memory_bytes)


def test_the_weights_the_samples_and_the_page(ran: Ran) -> None:
    assert {place.file.split("/")[0] for place in read_manifest(ran.run.weights).boxes} == {"step-6"}
    assert load_run(ran.run.path).step == STEPS
    assert strict((ran.run.path / "samples.json").read_text())[0]["prompt"] == "line "
    assert "<html" in ran.run.report.read_text()


def run_of(place: Path, rank_pools: Any, name: str = "run", **changes: Any) -> tuple[list[float | None], RunDirectory]:
    """Every loss of a run, and its directory."""
    job, plan = tiny(place, **changes)
    with forked(rank_pools, place):
        result = api.train(job, plan, run=place / name, measurements=MACHINE)
    lines = [strict(line) for line in result.run.metrics.read_text().splitlines()]
    assert len(lines) == job.training.steps
    return [line[key] for line in lines for key in ("loss", "validation_loss") if key in line], result.run


PLANS = {
    "data": ({"data": 2, "microbatch": 1}, 2),
    "pipeline": ({"pipeline": 2, "microbatch": 1}, 2),
    "tensor": ({"tensor": 2, "sequence_parallel": True}, 2),
}


def test_the_losses_do_not_depend_on_the_plan(tmp_path: Path, rank_pools: Any) -> None:
    training = {"precision": "fp64", "steps": 4, "validate_every": 2, "clip_norm": 0.1}
    alone, _ = run_of(tmp_path, rank_pools, training=training)
    for name, (plan, ranks) in PLANS.items():
        split, _ = run_of(tmp_path, rank_pools, name, training=training, cluster={"ranks": ranks}, plan=plan)
        assert split == pytest.approx(alone, rel=1e-12), name


def test_a_deterministic_run_twice_is_equal_to_the_last_bit(tmp_path: Path, rank_pools: Any) -> None:
    changes = {"training": {"deterministic": True}, "cluster": {"ranks": 2}, "plan": {"data": 2}}
    runs = [run_of(tmp_path, rank_pools, name, **changes) for name in ("first", "second")]
    assert runs[0][0] == runs[1][0]
    first, second = (dict(load_run(run.path).decoder.named_parameters()) for _, run in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)


ODD = {
    "one step": {"steps": 1, "validate_every": 50, "warmup_steps": 0},
    "bf16": {"precision": "bf16", "steps": 2},
    "sgd": {"optimizer": "sgd", "steps": 2, "decay": "linear"},
}


@pytest.mark.parametrize("training", ODD.values(), ids=ODD)
def test_other_ways_to_learn(tmp_path: Path, rank_pools: Any, training: dict[str, Any]) -> None:
    losses, run = run_of(tmp_path, rank_pools, training=training)
    assert len(losses) == training["steps"] + 1, "one validation, after the last step"
    assert all(loss is not None and 4 < loss < 7 for loss in losses)
    assert strict((run.path / "measured.json").read_text())["validations"][-1][0] == training["steps"]


def test_losses_that_are_no_numbers_end_a_run_like_any_other(tmp_path: Path, rank_pools: Any) -> None:
    training = {"learning_rate": 1e38, "clip_norm": 0.0, "optimizer": "sgd", "warmup_steps": 0}
    losses, run = run_of(tmp_path, rank_pools, training=training)
    assert losses[0] is not None
    assert losses[-1] is None
    strict((run.path / "measured.json").read_text())
    assert run.report.exists()


def no_ranks(*_: Any, **__: Any) -> None:
    raise AssertionError("a rank was started")


TEXTS = {
    "missing": (None, "no file"),
    "empty": (b"", "of its 0 bytes"),
    "not UTF-8": (b"caf\xe9\n" * 500, "is not UTF-8 text at byte 3"),
    "short": (b"a few words, no more\n", "needs 17 tokens"),
}


@pytest.mark.parametrize(("content", "words"), TEXTS.values(), ids=TEXTS)
def test_text_that_can_t_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, words: str) -> None:
    text = tmp_path / "odd.txt"
    if content is not None:
        text.write_bytes(content)
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("plait.training.trainer.ranks_for", no_ranks)
    job, plan = tiny(tmp_path, data={"text": str(text)})
    with pytest.raises((UnusableInput, IllegalJob), match=words):
        api.train(job, plan, run=tmp_path / "run", measurements=MACHINE)
    assert not list((tmp_path / "run").glob("*")), "the place is still free"


def test_what_can_t_be_is_refused_before_anything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "measured", no_ranks)
    job, plan = tiny(tmp_path)
    with pytest.raises(UnusableInput, match="is not empty"):
        api.train(job, plan, run=tmp_path)
    with pytest.raises(IllegalJob, match=r"plan\.stages"):
        api.train(job, Plan(stages=(3,)), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def direct(tmp_path: Path, rank_pools: Any):
    """Train into a directory that is prepared by hand; and the ranks' pids."""
    job, plan = tiny(tmp_path, cluster={"ranks": 2}, plan={"data": 2})
    prices = JobPrices(job.model, job.training, MACHINE)
    priced = played(plan, prices)
    run = RunDirectory.create(tmp_path / "run")
    pids: list[int] = []

    class Watched(RankPool):
        def run(self, *args: Any, **options: Any) -> list[Any]:
            pids.extend(self.pids)
            return super().run(*args, **options)

    with forked(rank_pools, tmp_path) as patch:
        patch.setattr("plait.training.trainer.ranks_for", partial(Watched, starter=rank_pools.starter))
        yield partial(train_under, job, plan, state(priced, prices), priced.step.timeline, run), run, pids


def test_a_disk_that_fills_while_it_learns_ends_the_ranks(direct: Any) -> None:
    train, run, pids = direct
    run.metrics.symlink_to("/dev/full")
    with pytest.raises(UnusableInput, match=r"metrics\.jsonl: can't be written: No space left on device"):
        train()
    assert len(pids) >= 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def train_and_fill_the_disk(assignment: Assignment) -> RankMeasure:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plait.checkpoint.rank_file.save_file", full)
        return train_on_rank(assignment)


def test_a_disk_that_is_full_when_ranks_save_is_said_as_any_full_disk(
    direct: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, run, pids = direct
    monkeypatch.setattr("plait.training.trainer.train_on_rank", train_and_fill_the_disk)
    with pytest.raises(UnusableInput) as caught:
        train()
    assert str(caught.value) == f"{run.weights}: the weights can't be saved: No space left on device"
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize("name", BEFORE_STEP_1)
def test_a_disk_that_is_full_before_it_learns(direct: Any, name: str) -> None:
    train, run, pids = direct
    if name == "plan.toml":  # written beside its name, then moved
        (run.path / "plan.toml.part").symlink_to("/dev/full")
    (run.path / name).symlink_to("/dev/full")
    with pytest.raises(UnusableInput, match=r"No space left on device"):
        train()
    assert pids == []


def fail_on_rank_1(_: object) -> None:
    if os.environ["RANK"] == "1":
        raise ArithmeticError("planted on rank 1")
    emit({"event": "validation", "step": 0, "loss": 1.0})
    import torch.distributed as dist

    dist.barrier()


def test_a_rank_that_raises_is_heard_once(direct: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    train, _, pids = direct
    monkeypatch.setattr("plait.training.trainer.train_on_rank", fail_on_rank_1)
    with pytest.raises(RankFailure, match="ArithmeticError: planted on rank 1") as caught:
        train()
    assert caught.value.rank == 1
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_what_the_caller_raises_ends_the_ranks(direct: Any) -> None:
    train, _, pids = direct

    def stop(event: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(on_event=stop)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)

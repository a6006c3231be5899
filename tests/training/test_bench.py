"""Plans in turns: the order varies, what fails is told and the others go on, turns are kept; and a slow stage or a slow
link is told as what it is."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from plait.collectives.shared_memory import SharedMemory
from plait.collectives.wire import Exchange
from plait.errors import UnusableInput
from plait.launchers import carry
from plait.parallel.pipeline_stage import DecoderStage
from plait.planner.prices import JobPrices
from plait.planner.simulator import predict
from plait.plans.completion import complete
from plait.plans.plan import Plan
from plait.training import rehearsal
from plait.training.bench import Contest, Entry, bench, taken
from plait.training.bench_result import BenchResult, bench_document
from plait.training.rehearsal import rehearsal_of
from tests.training.runs import MACHINE, tiny

DP2 = {"data": 2, "microbatch": 2}
PP2 = {"pipeline": 2, "microbatch": 2}
TP2 = {"tensor": 2, "microbatch": 4}
SLEEP = 0.03


@pytest.fixture
def warm(rank_pools: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ranks are the session's, tokens lie with the test."""
    monkeypatch.setattr("plait.training.bench.RankPools", lambda **_: nullcontext(rank_pools))
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))


def contest(place: Path, *keys: dict[str, Any], repeats: int = 2, steps: int = 3, **changes: Any) -> Contest:
    job, _ = tiny(place, cluster={"ranks": 2}, **changes)
    prices = JobPrices(job.model, job.training, MACHINE, job.cluster)
    plans = [complete(replace(job, constraints=one)) for one in keys]
    entries = tuple(Entry(plan=plan, prediction=predict(plan, prices)) for plan in plans)
    return Contest(job=job, entries=entries, repeats=repeats, steps=steps, record=place / "turns.jsonl")


def held(asked: Contest) -> tuple[BenchResult, list[tuple[int, Plan, bool]]]:
    turns: list[tuple[int, Plan, bool]] = []
    found = bench(asked, lambda turn, entry, told: turns.append((turn, entry.plan, isinstance(told, str))))
    return found, turns


@pytest.mark.usefixtures("warm")
def test_every_plan_has_a_turn_in_every_round_in_another_order(tmp_path):
    asked = contest(tmp_path, DP2, PP2, TP2, repeats=3)
    found, turns = held(asked)
    rounds = [[plan for turn, plan, _ in turns if turn == number] for number in (1, 2, 3)]
    assert all(len(plans) == len(set(plans)) == 3 for plans in rounds)
    assert rounds[1] == rounds[0][::-1], "who is early in one round is late in the next"
    assert [one.plan for one in found.plans] == [entry.plan for entry in asked.entries]
    document = bench_document(found)
    assert document["agreement"]["spearman"] is not None
    for one in document["plans"]:
        assert one["repeats"] == len(one["each_repeat"]) == 3
        assert len(one["measured"]["memory_bytes"]) == 2
        assert all(size > 0 for size in one["measured"]["memory_bytes"])
        assert set(one["predicted"]["exposed"]) == set(one["measured"]["exposed"]) == {"data", "tensor", "pipeline"}


@contextmanager
def failing(axis: str) -> Iterator[None]:
    """On a rank: what has this axis can't be built."""
    built = rehearsal.train_on_rank

    def refuse(assignment):
        if assignment.plan.mesh.size(axis) > 1:
            raise ArithmeticError(f"planted along {axis}")
        return built(assignment)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rehearsal, "train_on_rank", refuse)
        yield


@pytest.mark.usefixtures("warm")
def test_a_plan_that_fails_is_told_and_the_others_go_on(tmp_path):
    with carry(partial(failing, "pipeline")):
        found, turns = held(contest(tmp_path, DP2, PP2, TP2))
    assert [(one.plan.pipeline, len(one.runs)) for one in found.plans] == [(1, 2), (1, 2)]
    (lost,) = found.failed
    assert (lost.plan.pipeline, lost.error.partition(": ")[2]) == (2, "ArithmeticError: planted along pipeline")
    assert [failed for _, plan, failed in turns if plan.pipeline == 2] == [True], "it has no second turn"
    assert bench_document(found)["failed"][0]["error"] == lost.error


@pytest.mark.usefixtures("warm")
def test_turns_that_were_taken_are_not_taken_again(tmp_path):
    asked = contest(tmp_path, DP2, TP2)
    held(asked)
    lines = asked.record.read_text().splitlines()
    assert len(lines) == 4
    asked.record.write_text("\n".join(line for line in lines if '"tensor": 2' not in line) + "\n")
    with carry(partial(failing, "data")):  # whose turns are all there
        again, turns = held(asked)
    assert (len(turns), again.failed) == (4, ())
    assert sorted(json.loads(line)["key"] for line in asked.record.read_text().splitlines()) == sorted(
        json.loads(line)["key"] for line in lines
    )
    with carry(partial(failing, "data")):
        other, _ = held(replace(asked, steps=asked.steps + 1))
    assert [one.plan.data for one in other.failed] == [2], "other steps are other turns"


def test_a_turn_that_was_cut_off_is_taken_again(tmp_path):
    record = tmp_path / "turns.jsonl"
    terms = {"step_seconds": 1.0, "compute": 1.0, "bubble": 0.0, "optimizer": 0.0, "exposed": {}}
    whole = json.dumps({"key": "k", "round": 1, "measured": {**terms, "memory_bytes": [1]}}) + "\n"
    for tail in (whole[:40], whole[:-1]):
        record.write_text(whole + tail)
        assert list(taken(record)) == ["k"]
    emptied = re.sub(r'"memory_bytes": \[[^]]*\]', '"memory_bytes": []', whole)
    assert emptied != whole
    for text in ("{}", "[1, 2]", whole[:-3].replace("key", "kez"), emptied):
        record.write_text(text)
        with pytest.raises(UnusableInput):
            taken(record)
        assert record.read_text() == text, "it is somebody else's"


@pytest.mark.usefixtures("warm")
def test_a_record_goes_on_after_a_torn_turn(tmp_path):
    asked = contest(tmp_path, DP2)
    held(asked)
    lines = asked.record.read_text().splitlines(keepends=True)
    for end in (lines[-1][:40], lines[-1][:-1]):
        asked.record.write_text("".join(lines[:-1]) + end)
        held(asked)
        assert len(taken(asked.record)) == len(lines) == len(asked.record.read_text().splitlines())


def test_a_record_that_is_none_is_named(tmp_path, warm):
    asked = contest(tmp_path, DP2)
    asked.record.write_text('{"key": 3}\n')
    with pytest.raises(UnusableInput, match=r"line 1 of .*turns.jsonl is no turn of a bench"):
        held(asked)


def test_a_rehearsal_measures_whole_periods_and_no_dense_beginning(tmp_path):
    asked = contest(tmp_path, {"data": 2, "synchronisation": "diloco", "local_steps": 4})
    given = rehearsal_of(asked.job, asked.entries[0].plan, 6, ["x"], None)
    assert (given.training.steps, given.training.warmup_steps, given.training.validate_every) == (2 + 8, 0, 10)
    assert rehearsal_of(asked.job, replace(asked.entries[0].plan, local_steps=1), 6, [], None).training.steps == 8


# ---- whose doing it is ----------------------------------------------------------------------------------------------


@contextmanager
def slow_stage(last: bool) -> Iterator[None]:
    """On a rank: a forward of this stage sleeps."""
    forward = DecoderStage.forward

    def slower(self, hidden, inputs):
        value = forward(self, hidden, inputs)
        if (value.dim() == 0) == last:  # the last stage's value is a sum of losses
            time.sleep(SLEEP)
        return value

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DecoderStage, "forward", slower)
        yield


class Late:
    """Work that is done some time after it was."""

    def __init__(self, work) -> None:
        self.work = work

    def wait(self) -> None:
        self.work.wait()
        time.sleep(SLEEP)


@contextmanager
def slow_link() -> Iterator[None]:
    """On a rank: what arrives arrives late."""
    exchange, all_reduce = SharedMemory.exchange, SharedMemory.all_reduce

    def later(self, transfers):
        started = exchange(self, transfers)
        return Exchange(receives=[Late(work) for work in started.receives], sends=started.sends)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SharedMemory, "exchange", later)
        patch.setattr(SharedMemory, "all_reduce", lambda self, *args: Late(all_reduce(self, *args)))
        yield


def measured(place: Path, keys: dict[str, Any], context: Any = None) -> Any:
    asked = contest(place, keys, repeats=1, steps=5)
    asked.record.unlink(missing_ok=True)
    with carry(context) if context is not None else nullcontext():
        (found,) = bench(asked, lambda *_: None).plans
    return found


@pytest.mark.clock
@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("last", [False, True], ids=["stage 0", "stage 1"])
def test_a_slow_stage_moves_its_own_term_and_no_communication(tmp_path, last):
    plain = measured(tmp_path, PP2).measured
    found = measured(tmp_path, PP2, partial(slow_stage, last))
    slow, slept = found.measured, 2 * SLEEP  # two microbatches
    assert slow.compute - plain.compute > 0.8 * slept
    assert slow.stages[last].compute - plain.stages[last].compute > 0.8 * slept
    assert slow.stages[not last].compute - plain.stages[not last].compute < 0.3 * slept
    for axis, seconds in slow.exposed.items():
        assert seconds - plain.exposed[axis] < 0.3 * slept, axis
    assert max(slow.transfers) - max(plain.transfers) < 0.3 * slept
    assert slow.stages[not last].bubble - plain.stages[not last].bubble > 0.5 * slept, "who waits for it is idle"
    first = found.departures[0]
    assert first.term == f"stage {int(last)}", found.departures
    assert "communication" not in first.words


@pytest.mark.clock
@pytest.mark.usefixtures("warm")
def test_a_slow_link_between_stages_is_the_transfers_and_no_stage(tmp_path):
    plain = measured(tmp_path, PP2).measured
    found = measured(tmp_path, PP2, slow_link)
    slow = found.measured
    assert max(slow.transfers) - max(plain.transfers) > 1.5 * SLEEP  # two messages reach each stage
    for one, other in zip(slow.stages, plain.stages, strict=True):
        assert one.compute - other.compute < 0.5 * SLEEP
    assert found.departures[0].term in ("transfers", "pipeline"), found.departures


@pytest.mark.clock
@pytest.mark.usefixtures("warm")
def test_a_slow_link_between_replicas_is_the_data_axis_and_no_compute(tmp_path):
    plain = measured(tmp_path, DP2).measured
    found = measured(tmp_path, DP2, slow_link)
    slow = found.measured
    assert slow.exposed["data"] - plain.exposed["data"] > 0.8 * SLEEP
    assert slow.compute - plain.compute < 0.5 * SLEEP
    assert found.departures[0].term == "data", found.departures

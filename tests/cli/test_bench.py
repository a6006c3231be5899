"""`plait bench`: the document, the table, what is refused, and how it corrects the profile it was predicted from."""

from __future__ import annotations

import json
import tomllib
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from plait.api import load
from plait.cli.bench import result_lines
from plait.cli.benching import bench as run_bench
from plait.cli.main import main
from plait.plans.completion import complete
from plait.plans.plan import Plan
from plait.plans.prediction import Prediction, Terms
from plait.specs.measurement_files import read_measurements, write_measurements
from plait.specs.measurements import Measurements
from plait.training.bench_result import Benched, BenchResult
from plait.training.result import Measured
from tests.contract.golden import assert_shape, golden
from tests.training.runs import MACHINE, strict, tables

JOB = """
[model]
layers = 2
hidden = 16
heads = 2
vocab = 256
[data]
text = "text.txt"
tokenizer = "bytes"
validation_fraction = 0.1
[training]
steps = 4
global_batch = 4
sequence_length = 16
warmup_steps = 2
[cluster]
ranks = 2
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank_pools: Any) -> Path:
    """A directory with a job and a profile; ranks are the session's."""
    tables(tmp_path)
    (tmp_path / "job.toml").write_text(JOB)
    write_measurements(MACHINE, tmp_path / "machine.json")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("plait.training.bench.RankPools", lambda **_: nullcontext(rank_pools))
    return tmp_path


def measured_there(document: dict[str, Any]) -> Measurements:
    """The made-up machine, as if it were the one that a bench has run on."""
    machine = document["machine"]
    return replace(MACHINE, host=replace(MACHINE.host, processor=machine["processor"], cores=machine["cores"]))


def bench(*words: str) -> int:
    return main(["bench", "job.toml", "--measurements", "machine.json", "--steps", "2", "--repeats", "2", *words])


def test_the_document_is_the_contract_s_and_stays_on_disk(place, capsys):
    assert bench("--plans", "3", "--json") == 0
    out, err = capsys.readouterr()
    document = strict(out)
    assert_shape(document, golden("bench"))
    assert len(document["plans"]) == 3
    assert all(one["guesses"][0].startswith("profiled on 2 cores of made up") for one in document["plans"])
    run = place / "runs" / "bench-job"
    assert strict((run / "bench.json").read_text()) == document
    said = strict((run / "predictions.json").read_text())
    assert [one["prediction"]["step_seconds"] for one in said] == [
        one["predicted"]["step_seconds"] for one in document["plans"]
    ]
    assert len((run / "turns.jsonl").read_text().splitlines()) == 6
    assert "<section" in (run / "report.html").read_text()
    assert err.count("round 2") == 3


def test_the_table_is_sorted_by_measured_and_marks_the_worst(place, capsys):
    assert bench("--plans", "3") == 0
    lines = capsys.readouterr().out.splitlines()
    head, rows = lines[0], lines[1:4]
    assert head.split()[:2] == ["plan", "measured"]
    document = json.loads((place / "runs" / "bench-job" / "bench.json").read_text())
    ranked = sorted(document["plans"], key=lambda one: one["measured"]["step_seconds"])
    assert [row.startswith(one["name"]) for row, one in zip(rows, ranked, strict=True)] == [True] * 3
    errors = [abs(one["predicted"]["step_seconds"] / one["measured"]["step_seconds"] - 1) for one in ranked]
    assert [row.endswith("← worst predicted") for row in rows] == [one == max(errors) for one in errors]
    assert any("Spearman" in line and "slower than the best" in line for line in lines)


def test_given_plans_alone_and_beside_the_best(place, capsys):
    (place / "mine.toml").write_text("[plan]\ndata = 1\ntensor = 2\n")
    assert bench("--plan", "mine.toml", "--json") == 0
    out, err = capsys.readouterr()
    assert err.startswith(
        "left open in mine.toml, and taken: microbatch 1, tensor_shares equal, sequence_parallel false"
    )
    (one,) = json.loads(out)["plans"]
    assert (one["plan"]["tensor"], one["repeats"]) == (2, 2)
    taken = {"microbatch": 1, "tensor_shares": [1, 1], "sequence_parallel": False}
    assert one["left_open"] == taken
    assert bench("--plan", "mine.toml", "--plans", "1", "--json", "--out", "both") == 0
    mine, best = json.loads(capsys.readouterr().out)["plans"]
    assert (mine["plan"]["tensor"], mine["left_open"]) == (2, taken)
    assert (best["plan"]["tensor"], best["left_open"]) == (1, {})


def test_what_is_refused_is_refused_before_anything_starts(place, capsys, monkeypatch):
    monkeypatch.setattr("plait.cli.benching.bench", lambda *_, **__: pytest.fail("it has started"))
    (place / "bad.toml").write_text("[plan]\ntensor = 9\n")
    assert bench("--plan", "bad.toml", "--json") == 2
    assert json.loads(capsys.readouterr().out)["error"]["errors"][0]["key"] == "plan.tensor"
    (place / "taken").mkdir()
    (place / "taken" / "x").write_text("")
    assert bench("--out", "taken", "--json") == 2
    assert "taken: is not empty; name another" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_it_is_laid_beside_the_very_profile_that_predicts(place, monkeypatch):
    """That of the job's hosts, read once; and at the end the machine beside it."""
    asked: list[int] = []
    beside: list[Measurements] = []

    def measured(*, hosts: int) -> Measurements:
        asked.append(hosts)
        return MACHINE

    def times_as_long(known: Measurements) -> float:
        beside.append(known)
        return 1.24

    monkeypatch.setattr("plait.cli.benching.hosts_of", lambda job: 2)
    monkeypatch.setattr("plait.cli.benching.measured", measured)
    monkeypatch.setattr("plait.devices.drift.times_as_long", times_as_long)
    found = run_bench(load("job.toml"), [complete(load("job.toml"))], repeats=1, steps=1, run="drifted")
    assert asked == [2]
    assert beside == [MACHINE]
    assert found is not None
    assert found.drift is not None
    assert json.loads((place / "drifted" / "bench.json").read_text())["times_as_long"] == 1.24


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "turns can't be read from turns: Is a directory"),
        (b"\xff\xfe", "turns can't be read from turns: it is not UTF-8 text"),
        (b"garbage\n", "line 1 of turns is no turn of a bench"),
        (b"[]\n", "line 1 of turns is no turn of a bench"),
    ],
)
def test_a_record_that_is_none_is_refused_before_a_directory_is_made(place, capsys, content, words):
    (place / "turns").mkdir() if content is None else (place / "turns").write_bytes(content)
    assert bench("--plans", "1", "--record", "turns", "--json") == 2
    assert words in json.loads(capsys.readouterr().out)["error"]["message"]
    assert not (place / "runs").exists()


def test_where_no_plan_was_measured_the_answer_is_no(place, capsys, monkeypatch):
    monkeypatch.setattr("plait.training.bench.rehearse", _fails)
    (place / "mine.toml").write_text("[plan]\ndata = 2\ntensor = 1\nzero = 0\nmicrobatch = 2\nbucket_bytes = 1048576\n")
    assert bench("--plan", "mine.toml", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["plans"], document["agreement"]) == ([], None)
    (failed,) = document["failed"]
    assert failed["error"].endswith(": ArithmeticError: planted")
    assert failed["left_open"] == {"data_shares": [1, 1]}


def _fails(*_: object) -> None:
    raise ArithmeticError("planted")


def test_a_bench_corrects_the_profile_and_the_profile_stays(place, capsys):
    assert bench("--plans", "2") == 0
    document = json.loads((place / "runs" / "bench-job" / "bench.json").read_text())
    here = measured_there(document)
    write_measurements(here, place / "machine.json")
    capsys.readouterr()
    assert main(["profile", "--from-run", "runs/bench-job", "--measurements", "machine.json", "--cut"]) == 0
    told = capsys.readouterr().out
    found = read_measurements(place / "machine.json")
    assert found.corrections, "a made-up machine is wrong about this one"
    assert replace(found, corrections=()) == here
    sources = {(one.source.partition(" (")[0], one.date) for one in found.corrections}  # behind it, who else was busy
    assert sources == {("runs/bench-job", document["date"])}
    assert told.count("times what was profiled") == len(found.corrections)
    assert main(["plan", "job.toml", "--measurements", "machine.json", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["corrections"]) == len(found.corrections)


@pytest.mark.parametrize("measured_together", [True, False])
def test_a_run_on_two_hosts_corrects_what_was_measured_of_two(place, capsys, measured_together):
    assert bench("--plans", "1") == 0
    run = place / "runs" / "bench-job"
    job = tomllib.loads((run / "job.toml").read_text())
    job["cluster"] |= {"nodes": 2, "devices_per_node": 1}
    (run / "job.toml").write_text(tomli_w.dumps(job))
    here = measured_there(json.loads((run / "bench.json").read_text()))
    one, two = (place / "cache" / f"measurements{name}.json" for name in ("", "-2-hosts"))
    for path in (one, two) if measured_together else (one,):
        write_measurements(here, path)
    capsys.readouterr()
    assert main(["profile", "--from-run", "runs/bench-job", "--cut", "--json"]) == 0
    written, other = (two, one) if measured_together else (one, two)
    assert json.loads(capsys.readouterr().out)["written"] == str(written)
    assert read_measurements(written).corrections, "a made-up machine is wrong about this one"
    assert not other.exists() or read_measurements(other) == here


def test_a_correction_says_that_its_run_was_not_alone(place, capsys):
    assert bench("--plans", "1") == 0
    path = place / "runs" / "bench-job" / "bench.json"
    document = json.loads(path.read_text())
    here = measured_there(document)
    write_measurements(here, place / "machine.json")
    for one in document["plans"]:
        one["measured"]["other_cores"] = 1.3
    path.write_text(json.dumps(document))
    capsys.readouterr()
    assert main(["profile", "--from-run", "runs/bench-job", "--measurements", "machine.json", "--cut"]) == 0
    found = read_measurements(place / "machine.json").corrections
    assert found
    assert all("other programs kept 1.3 cores busy" in one.source for one in found)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("step_seconds", -1, "above 0"),
        ("step_seconds", None, "step_seconds"),
        ("optimizer", "x", "optimizer"),
        ("exposed", [], "exposed"),
        ("transfers", "x", "transfers"),
    ],
)
def test_a_bench_that_measured_nothing_of_the_kind_corrects_nothing(place, capsys, key, value, words):
    assert bench("--plans", "1") == 0
    path = place / "runs" / "bench-job" / "bench.json"
    document = json.loads(path.read_text())
    document["plans"][0]["measured"][key] = value
    path.write_text(json.dumps(document))
    capsys.readouterr()
    assert main(["profile", "--from-run", "runs/bench-job", "--measurements", "machine.json", "--json"]) == 2
    assert words in json.loads(capsys.readouterr().out)["error"]["message"]


def test_one_that_is_beyond_belief_corrects_nothing_unless_asked_to(place, capsys):
    assert bench("--plans", "1") == 0
    path = place / "runs" / "bench-job" / "bench.json"
    document = json.loads(path.read_text())
    here = measured_there(document)
    write_measurements(here, place / "machine.json")
    (one,) = document["plans"]
    for terms in (one["measured"], *one["measured"]["stages"]):
        terms["compute"], terms["optimizer"] = 100.0, one["predicted"]["optimizer"]
        terms["exposed"] = one["predicted"]["exposed"]
    one["measured"]["step_seconds"] = 100.0
    path.write_text(json.dumps(document))
    ask = ["profile", "--from-run", "runs/bench-job", "--measurements", "machine.json"]
    capsys.readouterr()
    assert main([*ask, "--json"]) == 2
    told = json.loads(capsys.readouterr().out)["error"]["message"]
    assert told.startswith("computing: more than 3.00 times what was profiled")
    assert "nothing is written" in told
    assert read_measurements(place / "machine.json") == here
    assert main([*ask, "--cut"]) == 0
    assert [one.what for one in read_measurements(place / "machine.json").corrections] == ["computing"]


def test_nor_does_one_whose_plan_is_none_of_its_job(place, capsys):
    assert bench("--plans", "1") == 0
    path = place / "runs" / "bench-job" / "bench.json"
    document = json.loads(path.read_text())
    document["plans"][0]["plan"]["zero"] = 9
    path.write_text(json.dumps(document))
    capsys.readouterr()
    assert main(["profile", "--from-run", "runs/bench-job", "--measurements", "machine.json", "--json"]) == 2
    assert "plan.zero" in capsys.readouterr().out


def test_a_run_of_another_machine_corrects_nothing(place, capsys):
    assert bench("--plans", "1") == 0
    before = (place / "machine.json").read_text()
    capsys.readouterr()
    assert main(["profile", "--from-run", "runs/bench-job", "--measurements", "machine.json", "--json"]) == 2
    assert "a run corrects its own machine's alone" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert main(["profile", "--from-run", "nowhere", "--measurements", "machine.json", "--json"]) == 2
    assert (place / "machine.json").read_text() == before


def benched(predicted: float, *rounds: float) -> Benched:
    """One replica's plan, of which so many seconds were predicted, and measured round by round."""
    terms = {"compute": predicted, "bubble": 0.0, "optimizer": 0.0, "exposed": {}}
    said = Prediction(
        step_seconds=predicted, interval=(predicted, predicted), terms=Terms(**terms), memory_bytes=(1,),
        weight_bytes=(1,), gradient_bytes=(1,), optimizer_bytes=(1,), activation_bytes=(1,), flops=(1,),
        collectives=((),),
    )  # fmt: skip
    runs = tuple(Measured(step_seconds=seconds, **terms, memory_bytes=(1,)) for seconds in rounds)
    return Benched(plan=Plan(stages=(2,)), prediction=said, runs=runs)


STEADY = (benched(1.0, 1.0, 1.0, 1.0), benched(1.5, 1.5, 1.5, 1.5))


@pytest.mark.parametrize(
    ("plans", "words"),
    [
        (STEADY, ()),
        ((benched(1.0, 1.3), benched(1.06, 1.0)), ()),  # of one round nothing is known
        ((*STEADY, benched(1.02, 0.7, 1.1, 1.2)), ("1 of 3 pairs of plans are predicted closer together",)),
        (
            (benched(1.0, 1.34, 1.34, 1.34), benched(1.06, 0.7, 1.0, 1.42)),
            ("the plans are predicted to lie within 6.0%, closer together", "(±0.0%) and of the best (±36.0%) overlap"),
        ),
        ((benched(1.0, 1.3, 1.31, 1.32), benched(1.01, 1.0, 1.04, 1.02)), ("predicted to lie within 1.0%",)),
    ],
)
def test_an_order_that_is_smaller_than_the_noise_of_its_plans_is_told_as_that(plans, words, tmp_path):
    found = result_lines(BenchResult(plans=plans, failed=()), tmp_path)
    told = [text for line in found for _, text in line if "closer together" in text or "overlap" in text]
    assert len(told) == len(words)
    assert all(part in text for part, text in zip(words, told, strict=True))

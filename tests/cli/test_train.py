"""`plait train`: the document, what is refused before anything starts, and how a run ends that can't go on.

Where several processes must end, the pipe that they all hold tells when they have.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w

from plait.cli.main import main
from plait.specs.measurement_files import write_measurements
from tests.contract.golden import assert_shape, golden
from tests.training.runs import MACHINE, forked, strict, tables
from tests.training.test_trainer import fail_on_rank_1

TWO = {"cluster": {"ranks": 2}, "plan": {"data": 2}}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch, rank_pools):
    """A folder to work in, with a job for two ranks, and a machine that was measured."""
    monkeypatch.chdir(tmp_path)
    write_measurements(MACHINE, tmp_path / "cache" / "measurements.json")
    write_job("job.toml", **TWO)
    with forked(rank_pools, tmp_path):
        yield tmp_path


def write_job(name, **changes):
    with open(name, "wb") as file:
        tomli_w.dump(tables(Path.cwd(), **changes), file)


def ask(capsys, *words):
    code = main([*words, "--json"])
    captured = capsys.readouterr()
    return code, strict(captured.out), captured.err


def test_the_document_of_a_run(capsys, place):
    code, document, err = ask(capsys, "train", "job.toml")
    assert code == 0
    assert_shape(document, golden("train"))
    assert (document["steps"], document["run"]) == (6, "runs/job")
    assert document["loss"]["last_validation"] < document["loss"]["first_validation"]
    prediction = strict((place / "runs/job/prediction.json").read_text())
    assert document["predicted"]["step_seconds"] == prediction["step_seconds"]
    assert document["guesses"] == prediction["guesses"]
    assert document["left_open"] == {}
    assert document["guesses"][0].startswith("profiled on 2 cores of made up, and this runs on ")
    assert "step 6/6" in err
    assert "predicted" in err


def test_under_a_plan_of_one_s_own_for_people(capsys, place):
    assert main(["plan", "job.toml"]) == 0
    text = (place / "plan.toml").read_text().replace("microbatch = 2", "microbatch = 1")
    (place / "mine.toml").write_text(text.replace("zero = ", "# zero = "))
    capsys.readouterr()
    assert main(["train", "job.toml", "--plan", "mine.toml", "--out", "mine", "--sample", "line"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("left open in mine.toml, and taken: zero 0\n")
    lines = out.splitlines()
    assert lines[0].startswith("held-out loss ")
    assert lines[-1] == "report: mine/report.html"
    assert any("predicted" in line and "measured" in line and "error" in line for line in lines)
    assert "microbatch = 1" in (place / "mine/plan.toml").read_text()
    assert json.loads((place / "mine/samples.json").read_text())[0]["text"]


@pytest.mark.parametrize(
    ("warmup", "said"), [(0, "the mean of 2 whole periods of local_steps"), (2, "no whole period of local_steps")]
)
def test_it_is_said_where_replicas_met_too_seldom_to_measure(capsys, warmup, said):
    plan = {"data": 2, "synchronisation": "local-sgd", "local_steps": 2}
    write_job("short.toml", cluster={"ranks": 2}, plan=plan, training={"steps": 6, "warmup_steps": warmup})
    assert main(["train", "short.toml"]) == 0
    assert any(said in line for line in capsys.readouterr().out.splitlines())


def test_a_loss_that_is_no_number_is_null(capsys):
    training = {"learning_rate": 1e38, "clip_norm": 0.0, "optimizer": "sgd", "warmup_steps": 0, "steps": 3}
    write_job("wild.toml", training=training)
    code, document, _ = ask(capsys, "train", "wild.toml")
    assert code == 0
    assert_shape(document, golden("train"))
    assert document["loss"]["last_validation"] is None
    assert main(["train", "wild.toml", "--out", "again"]) == 0
    assert any("diverged" in line for line in capsys.readouterr().out.splitlines())


@pytest.fixture
def never(monkeypatch):
    """Nothing is measured, and no rank is started."""

    def refuse(*_, **__):
        raise AssertionError("too late")

    monkeypatch.setattr("plait.api.measured", refuse)
    monkeypatch.setattr("plait.training.trainer.ranks_for", refuse)


@pytest.mark.usefixtures("never")
def test_an_illegal_job_or_plan_is_refused_as_check_does(capsys, place):
    write_job("illegal.toml", model={"heads": 3}, plan={"stages": [3]})
    checked = ask(capsys, "check", "illegal.toml")[1]["errors"]
    assert len(checked) >= 2
    code, document, _ = ask(capsys, "train", "illegal.toml")
    assert (code, document["error"]["kind"], document["error"]["errors"]) == (2, "illegal_job", checked)
    (place / "bad.toml").write_text("[plan]\ntensor = 9\n")
    code, document, _ = ask(capsys, "train", "job.toml", "--plan", "bad.toml")
    assert (code, document["error"]["errors"][0]["key"]) == (2, "plan.tensor")
    assert not (place / "runs").exists()


@pytest.mark.usefixtures("never")
@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("taken", "already holds a run; name another directory"),
        ("job.toml/run", "can't hold a run"),
        ("/proc/run", "can't"),
    ],
)
def test_a_place_that_can_t_be_used(capsys, place, out, words):
    (place / "taken").mkdir()
    (place / "taken" / "metrics.jsonl").write_text("")
    code, document, err = ask(capsys, "train", "job.toml", "--out", out)
    assert (code, document["error"]["kind"]) == (2, "unusable_input")
    assert words in document["error"]["message"]
    assert "Traceback" not in err


@pytest.mark.parametrize("command", [("train", "--out", "run"), ("plan",), ("verify",)])
def test_what_is_suspicious_is_said_once_on_stderr(capsys, monkeypatch, command):
    monkeypatch.setattr("plait.api.usable_cores", lambda: 1)
    write_job("odd.toml", training={"steps": 1, "warmup_steps": 3}, **TWO)
    if command[0] == "verify":
        monkeypatch.setattr("plait.api.verify_job", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    main([command[0], "odd.toml", *command[1:]])
    err = capsys.readouterr().err
    assert err.count("caution: cluster.ranks: 2 ranks share the 1 core ") == 1
    assert err.count("caution: training.warmup_steps: ") == 1


def test_a_rank_that_raises_is_heard_once(capsys, monkeypatch):
    monkeypatch.setattr("plait.training.trainer.train_on_rank", fail_on_rank_1)
    assert main(["train", "job.toml"]) == 3
    err = capsys.readouterr().err
    assert err.count("error: rank 1 failed first") == 1
    assert err.count("raise ArithmeticError") == 1
    assert err.count("ArithmeticError: planted on rank 1") == 1


def start(place):
    """A `plait train` that won't end by itself, after its step 6, and the pids of its ranks.

    Every process that it starts holds its stderr: that ends when all of them have.
    """
    write_job("long.toml", training={"steps": 10**6, "validate_every": 3}, **TWO)
    code = "import sys; from plait.cli.main import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "train", "long.toml"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    )
    assert process.stderr is not None
    said = ""
    while "after step 6:" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    (zygote,) = children(process.pid)
    return process, children(zygote)


def children(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ended(process):
    """How it ended, and its last words; all its processes have ended."""
    _, said = process.communicate(timeout=10)
    return process.returncode, said


linux = pytest.mark.skipif(sys.platform != "linux", reason="finds the ranks in /proc")


@linux
def test_a_rank_that_is_killed_ends_everything(place):
    process, ranks = start(place)
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    code, said = ended(process)
    assert code == 3
    assert said.count("failed first") == said.count("killed by SIGKILL") == 1
    assert "Traceback" not in said


@linux
def test_ctrl_c_ends_everything(place):
    process, _ = start(place)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    code, said = ended(process)
    assert code == 130
    assert said.count("error: interrupted") == 1
    assert "Traceback" not in said


@linux
def test_a_parent_that_is_killed_leaves_nobody(place):
    process, _ = start(place)
    process.kill()
    assert ended(process)[0] == -signal.SIGKILL

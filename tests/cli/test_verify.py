"""`plait verify`: the contract's document, words for people, the dump, and the exit codes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import tomli_w
from safetensors.numpy import load_file

from plait import api
from plait.api import load, verify_job
from plait.cli.main import main
from plait.errors import IllegalJob
from plait.plans.completion import complete
from plait.plans.files import write_plan
from plait.verification.culprit import Culprit
from plait.verification.effort import Departure
from plait.verification.evidence import Row
from plait.verification.report import Verification
from tests.contract.golden import assert_shape, contract_table, golden

GRADIENT = {"kind": "gradient", "step": 1, "precision": "fp64"}
BUG = Verification(
    verdict="BUG",
    tensors=(
        Row(name="model.norm.weight", verdict="BUG", error=0.5, error_eps=2.3e15, axes=("tensor",), **GRADIENT),
        Row(name="lm_head.weight", verdict="REASSOCIATION", error=4e-16, error_eps=2.0, **GRADIENT),
    ),
    culprit=Culprit(tensor="model.norm.weight", layer="head", axis="tensor"),
    kept={"plan.data": 1, "plan.pipeline": 1},
    narrowed={
        "model.hidden": {"job": 4096, "verified": 8},
        "training.clip_norm": {"job": 1.0, "verified": 0.123456},
        "plan.tensor": {"job": 8, "verified": 2},
    },
    drift={"fp64": 0.1, "fp32": 0.1},
    losses=((4.125, 4.125), (4.0, 4.0)),
    departures=(Departure(rank=1, what="backward FLOPs", planned=1000, performed=2000),),
    seconds=3.0,
)
SHARES = ("plan.tensor_shares", "plan.data_shares")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder to work in, with the contract's job on two ranks."""
    monkeypatch.chdir(tmp_path)
    write_job("job.toml")
    return tmp_path


def write_job(name, changes=None, without=()):
    two = {"cluster.ranks": 2, "plan.pipeline": 1, "plan.stages": [7], "model.layers": 7}
    with open(name, "wb") as file:
        tomli_w.dump(contract_table({**two, **(changes or {})}, without), file)


def ask(capsys, *words):
    code = main(["verify", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_job_is_proven_with_a_dump_of_both_sides(capsys, place):
    code, document = ask(capsys, "job.toml", "--dump", "dump")
    assert code == 0
    assert_shape(document, golden("verify"))
    assert document["verdict"] == "REASSOCIATION"
    assert document["culprit"] is None
    assert {tensor["precision"] for tensor in document["tensors"]} == {"fp64", "fp32"}
    assert document["kept"]["plan.data"] == 2
    assert document["narrowed"]["model.hidden"]["job"] == 120
    sides = [load_file(place / "dump" / f"{side}.safetensors") for side in ("reference", "parallel")]
    named = {(t["step"], t["precision"], t["name"]) for t in document["tensors"] if t["kind"] == "gradient"}
    assert {f"step{step}/{precision}/{name}" for step, precision, name in named} == set(sides[0]) == set(sides[1])


def test_people_read_what_it_was_found_out_on(capsys, monkeypatch):
    healthy = replace(BUG, verdict="REASSOCIATION", tensors=BUG.tensors[1:], culprit=None)
    monkeypatch.setattr(api, "verify_job", lambda *_, **__: healthy)
    assert main(["verify", "job.toml"]) == 0
    out = capsys.readouterr().out
    assert "is the same model as one process" in out
    assert "in parallel (data 1, tensor 2, pipeline 1)" in out
    assert "model.hidden: 4096 → 8" in out
    assert "training.clip_norm: 1 → 0.123" in out
    assert "equal to the last bit" in out
    assert "comparison of losses" not in out


def test_a_bug_is_told_and_the_answer_is_no(capsys, monkeypatch):
    monkeypatch.setattr(api, "verify_job", lambda *_, **__: BUG)
    assert main(["verify", "job.toml"]) == 1
    out = capsys.readouterr().out
    assert "NOT the same model" in out
    assert "model.norm.weight, in head, along the tensor axis" in out
    assert "losses would have seen 4.125000 and 4.125000, then 4.000000 and 4.000000" in out
    assert "rank 1: backward FLOPs: 1,000 by the plan, 2,000 counted" in out
    table = [line.split() for line in out.splitlines()]
    assert ["model.norm.weight", "gradient", "1", "fp64", "2.3e+15", "BUG"] in table
    code, document = ask(capsys, "job.toml")
    assert code == 1
    assert document["culprit"] == {"tensor": "model.norm.weight", "layer": "head", "axis": "tensor"}


def test_a_given_plan_is_the_one_that_is_proven(capsys, monkeypatch):
    asked: list[object] = []
    monkeypatch.setattr(api, "verify_job", lambda job, plan, **more: asked.append((plan, more)) or BUG)
    chosen = complete(load("job.toml"), microbatch=4)
    write_plan("plan.toml", chosen)
    ask(capsys, "job.toml", "--plan", "plan.toml", "--ranks", "3")
    ask(capsys, "job.toml", "--witness")
    assert asked == [
        (chosen, {"ranks": 3, "dump": None, "witness": False}),
        (complete(load("job.toml")), {"ranks": None, "dump": None, "witness": True}),
    ]


def test_the_first_line_says_which_plan_it_is(capsys, monkeypatch):
    monkeypatch.setattr(api, "verify_job", lambda *_, **__: BUG)
    write_plan("plan.toml", complete(load("job.toml"), microbatch=4))

    def first(*words):
        main(["verify", *words])
        return capsys.readouterr().out.splitlines()[0]

    assert first("job.toml", "--plan", "plan.toml") == "The plan in plan.toml: data 2, microbatch 4"
    assert first("job.toml") == "The job's own plan, completed: data 2, microbatch 2"  # it fixes every key
    write_job("open.toml", without=["plan.microbatch"])
    assert first("open.toml") == (
        "The job's own plan, completed: data 2, microbatch 1; `plait plan` may choose another (--plan FILE verifies "
        "that one)"
    )
    document = ask(capsys, "open.toml")[1]
    assert (document["plan"]["microbatch"], document["left_open"]) == (1, {"microbatch": 1})


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["missing.toml"], "unusable_input"),
        (["illegal.toml"], "illegal_job"),
        (["job.toml", "--plan", "missing.toml"], "unusable_input"),
        (["job.toml", "--plan", "other.toml"], "illegal_job"),
        (["job.toml", "--ranks", "0"], "usage"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_can_not_be_used_ends_with_2(capsys, words, kind):
    write_job("illegal.toml", {"model.heads": 7})
    write_plan("other.toml", replace(complete(load("job.toml")), stages=(6,)))
    code, document = ask(capsys, *words)
    assert code == 2
    assert document["error"]["kind"] == kind


def test_from_python_an_illegal_plan_is_refused():
    job = load("job.toml")
    with pytest.raises(IllegalJob, match="stages"):
        verify_job(job, replace(complete(job), stages=(6,)))


def test_the_page_says_where_ranks_stood_and_what_that_leaves_open():
    from plait.cli.verify import verification_lines
    from plait.verification.on_hosts import standing

    def page(plan, hosts):
        found = replace(BUG, standing=standing(plan, hosts))
        return "\n".join("".join(part for _, part in line) for line in verification_lines(found))

    two = ((0, 1), (2, 3))
    whole = page(complete(load("job.toml")), two)
    assert "Ranks by host (host 0: 0, 1); nothing went between hosts." in whole
    assert "Ranks 2, 3 had nothing to do." in whole
    write_job("four.toml", {"cluster.ranks": 4, "plan.tensor": 2, "plan.data": 2}, SHARES)
    spread = page(complete(load("four.toml")), two)
    assert "Ranks by host (host 0: 0, 1; host 1: 2, 3); data between hosts." in spread
    assert "nothing to do" not in spread


def test_a_plan_smaller_than_torchrun_s_world_is_refused_and_a_larger_one_narrowed(monkeypatch):
    from plait.launchers.world import World

    asked = []
    monkeypatch.setattr("plait.verification.verify.verify_plan", lambda *_, **named: asked.append(named) or BUG)
    world = object.__new__(World)
    world.size = 4
    monkeypatch.setattr(World, "hosts", ((0, 1), (2, 3)))
    with pytest.raises(IllegalJob, match="the plan occupies 2 ranks, and torchrun has started 4"):
        api._proven(load("job.toml"), None, None, False, ranks=4, run=None, world=world)
    write_job("eight.toml", {"cluster.ranks": 8, "plan.tensor": 4, "plan.data": 2}, SHARES)
    api._proven(load("eight.toml"), None, None, False, ranks=4, run=None, world=world)
    assert [(one["ranks"], one["hosts"]) for one in asked] == [(4, ((0, 1), (2, 3)))]

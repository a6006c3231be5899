"""A job for machines of the catalogue: checked with what was taken for granted, proven here as far as it runs here, and
refused in words by whatever would measure or train on this machine."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import tomli_w

from plait import api
from plait.cli.main import main
from plait.errors import IllegalJob, UnusableInput
from plait.plans.completion import complete
from plait.plans.files import read_plan, write_plan
from plait.plans.legality import plan_problems
from plait.specs.cluster import ClusterSpec
from plait.specs.presets import PRESETS

SHAPE = {"layers": 2, "hidden": 8, "heads": 2}
ELSEWHERE = {"device": "h100-80gb", "nodes": 2, "devices_per_node": 4}
EXPERTS = {"name": "mixtral-8x7b", "layers": 4}
WIDE = {"global_batch": 64, "sequence_length": 32}


@pytest.fixture
def write(tmp_path):
    def written(**tables) -> str:
        path = tmp_path / "job.toml"
        path.write_text(tomli_w.dumps({"model": SHAPE, "training": WIDE, "cluster": ELSEWHERE, **tables}))
        return str(path)

    return written


def ask(capsys, *words):
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_what_a_configuration_says_beyond_a_shape_is_told_and_never_run_as_if_it_did_not(write, tmp_path, capsys):
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
             "vocab_size": 256}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "unheard_of", "gate_rank": 7, **sizes}))
    path = write(model={"huggingface": str(tmp_path)})
    job = api.load(path)
    for found in (api.check(path), api.check(job)):
        assert found.ok
        assert "gate_rank = 7" in next(one.message for one in found.warnings if one.key == "model.huggingface")
    with pytest.raises(IllegalJob, match="gate_rank = 7; not built yet on this machine"):
        api.verify_job(job, ranks=2)
    code, document = ask(capsys, "check", write(model={"huggingface": str(tmp_path)}, cluster={"ranks": 2}))
    assert (code, [error["key"] for error in document["errors"]]) == (1, ["model.huggingface"])


def test_check_says_what_is_planned_only_and_what_was_taken_for_granted(write, capsys):
    plan = {"expert": 4, "context": 2, "recompute": "full", "schedule": "zb-h1"}
    code, document = ask(capsys, "check", write(model=EXPERTS, plan=plan, cluster={"device": "h100-80gb", "nodes": 2}))
    assert (code, document["errors"]) == (0, [])
    told = {warning["key"]: warning["message"] for warning in document["warnings"]}
    for key in ("model.experts", "plan.expert", "plan.context", "plan.recompute"):
        assert "can't be run by this Plait yet" in told[key]
    assert "taken for 8, as machines with h100-80gb usually have" in told["cluster.devices_per_node"]
    assert "taken for nvlink4" in told["cluster.intra_link"]
    assert "taken for ib-ndr-x8" in told["cluster.inter_link"]
    assert "cluster.ranks" not in told  # they are no processes of this machine


def test_what_is_said_is_not_taken_for_granted(write, capsys):
    keys = {**ELSEWHERE, "intra_link": "nvlink4", "inter_link": "ib-hdr"}
    said = WIDE | {"precision": "fp32"}
    assert ask(capsys, "check", write(training=said, cluster=keys))[1]["warnings"] == []
    groups = [{"device": "rtx-4090", "intra_link": "pcie4"}, {"device": "rtx-4090", "devices_per_node": 1}]
    unlike = {"groups": groups, "inter_link": "ethernet-10gbit"}
    _, document = ask(capsys, "check", write(training=said, cluster=unlike))
    assert [warning["key"] for warning in document["warnings"]] == ["cluster.groups.devices_per_node"]


@pytest.mark.parametrize(
    "faster", [{"h100-80gb": 15}, {"v100-32gb": 8}, {"h100-80gb": 15, "a100-80gb": 16}, {"tpu-v5p": None}], ids=" ".join
)
def test_who_says_no_precision_is_told_how_fast_16_bits_are_there(write, capsys, faster):
    _, document = ask(capsys, "check", write(cluster={"groups": [{"device": one} for one in faster]}))
    told = [one["message"] for one in document["warnings"] if one["key"] == "training.precision"]
    assert told == [
        f'precision is left out: taken for fp32; in "bf16" {device} multiplies {times} times as fast'
        for device, times in faster.items()
        if times is not None
    ]


@pytest.mark.parametrize("command", ["train", "bench"])
def test_what_would_use_this_machine_refuses_it_in_words(write, capsys, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("plait.api.measured", lambda *_, **__: pytest.fail("this machine was measured"))
    code, document = ask(capsys, command, write())
    assert code == 2
    assert document["error"]["kind"] == "unusable_input"
    assert "8 devices of the catalogue (h100-80gb), and this machine is not them" in document["error"]["message"]


def test_an_illegal_one_is_refused_as_any_other(write, capsys):
    code, document = ask(capsys, "plan", write(cluster={**ELSEWHERE, "device": "h1000"}))
    assert code == 2
    assert [error["key"] for error in document["error"]["errors"]] == ["cluster.device"]


def test_verify_proves_its_plan_on_this_machine(write):
    job = api.load(write(plan={"data": 2, "tensor": 2, "pipeline": 2}))
    found = api.verify_job(job, ranks=2)
    assert found.verdict in ("EXACT", "REASSOCIATION")


def test_verify_refuses_what_does_not_run_here(write):
    with pytest.raises(IllegalJob, match="not built yet"):
        api.verify_job(api.load(write(model=EXPERTS, plan={"expert": 4})))


def test_python_refuses_it_too(write):
    job = api.load(write())
    with pytest.raises(UnusableInput, match="this machine is not them"):
        api.train(job)


def test_a_plan_for_it_fills_its_ranks_with_context_and_goes_through_a_file(write, tmp_path):
    job = api.load(write(model=EXPERTS, plan={"context": 2, "tensor": 2, "expert": 4, "recompute": "selective"}))
    plan = complete(job)
    assert (plan.ranks, plan.data, plan.context, plan.tensor, plan.expert) == (8, 2, 2, 2, 4)
    assert plan_problems(job, plan) == []
    write_plan(tmp_path / "plan.toml", plan)
    assert read_plan(tmp_path / "plan.toml", job).plan == plan
    assert {problem.key for problem in plan_problems(job_here(job), plan)} >= {"plan.context", "plan.expert"}


def job_here(job):
    return replace(job, cluster=ClusterSpec(ranks=8))


@pytest.mark.parametrize("name", PRESETS)
def test_every_model_with_a_name_is_legal_there(write, name):
    report = api.check(write(model={"name": name}, training={"global_batch": 64, "sequence_length": 4096}))
    assert report.errors == ()


def test_texts_that_lie_there_are_not_looked_for(write, capsys):
    code, _ = ask(capsys, "check", write(data={"text": "/on/that/cluster/*.txt"}))
    assert code == 0


def test_plan_answers_as_the_contract_has_it_and_measures_nothing(write, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("plait.api.measured", lambda *_, **__: pytest.fail("this machine was measured"))
    code, document = ask(capsys, "plan", write(model={"name": "gpt2"}), "--explain", "1")
    assert code == 0
    assert {"search_seconds", "considered", "legal", "plans", "too_close_to_call"} <= set(document)
    best = document["plans"][0]
    assert len(best["memory_bytes"]) == 8
    assert best["lost_because"] is None
    assert best["interval"][0] < best["step_seconds"] < best["interval"][1]
    assert all(one["lost_because"] for one in document["plans"][1:])
    assert document["what_if"] == document["explained"]["what_if"]
    assert document["explained"]["obvious"]
    assert document["parameters"] == document["active_parameters"] == 123_677_952  # GPT-2 of 32 positions
    assert main(["plan", write(model={"name": "gpt2"}), "--top", "2"]) == 0
    out = capsys.readouterr().out
    assert "8 × h100-80gb in 2 × 4" in out
    assert "123.7 million parameters" in out.splitlines()


def test_any_plan_is_explained_by_its_place_or_its_file(write, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(model={"name": "gpt2"})
    _, document = ask(capsys, "plan", path, "--explain", "20")
    told, ranked = document["explained"], document["plans"][19]
    assert (told["place"], told["plan"], told["lost_because"]) == (20, ranked["plan"], ranked["lost_because"])
    assert (told["step_seconds"], told["beside_seconds"]) == (
        ranked["step_seconds"],
        document["plans"][0]["step_seconds"],
    )
    assert all(reason["seconds"] > reason["beside_seconds"] for reason in told["reasons"])
    (first, *_) = told["reasons"]
    more = first["seconds"] - first["beside_seconds"]
    assert first["without_seconds"] == pytest.approx(told["step_seconds"] - more)
    assert {one["change"] for one in told["what_if"]} >= {"links between hosts twice as fast", "half the memory"}
    _, again = ask(capsys, "plan", path, "--explain", "plan.toml")
    assert (again["explained"]["place"], again["explained"]["lost_because"]) == (1, None)
    assert main(["plan", path, "--explain", "20", "--top", "1"]) == 0
    out = capsys.readouterr().out
    for words in ("Plan 20: ", "Plans that one might have expected", "What would change the answer"):
        assert words in out


def test_a_plan_in_a_file_is_explained_though_no_search_would_propose_it(write, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(model={"name": "gpt2"})
    mine = {"plan": {"data": 1, "tensor": 2, "pipeline": 4, "microbatch": 1, "schedule": "gpipe", "stages": [3] * 4}}
    (tmp_path / "mine.toml").write_text(tomli_w.dumps(mine))
    _, document = ask(capsys, "plan", path, "--explain", "mine.toml")
    told = document["explained"]
    assert told["place"] is None
    assert all(told["plan"][key] == value for key, value in mine["plan"].items())
    assert told["step_seconds"] > document["plans"][-1]["step_seconds"]
    assert told["lost_because"].startswith("no single reason; the largest: ")
    assert main(["plan", path, "--explain", "mine.toml", "--top", "1"]) == 0
    assert "The plan in mine.toml: tensor 2 × pipeline 4" in capsys.readouterr().out


def test_a_plan_by_hand_stays_there_too(write, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, mine = write(model={"name": "gpt2"}), "[plan]\ndata = 8\nmicrobatch = 1\n"
    (tmp_path / "plan.toml").write_text(mine)
    for words in ([], ["--explain", "plan.toml"]):
        code, document = ask(capsys, "plan", path, *words)
        assert (code, document["written"]) == (0, None)
    assert main(["plan", path]) == 0
    assert "not written: the plan.toml that is there" in capsys.readouterr().out
    assert (tmp_path / "plan.toml").read_text() == mine


def test_a_plan_in_a_file_that_has_no_room_is_told_so(write, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(model={"name": "llama2-7b"})
    (tmp_path / "mine.toml").write_text(tomli_w.dumps({"plan": {"data": 8, "microbatch": 8, "recompute": "none"}}))
    _, document = ask(capsys, "plan", path, "--explain", "mine.toml")
    assert "dies first: it needs" in document["explained"]["lost_because"]
    assert "recompute" not in document["explained"]["left_open"]


def test_that_nothing_is_computed_again_is_told_of_a_plan_that_leaves_it_open(write, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text("[plan]\ntensor = 8\nmicrobatch = 1\n")
    _, document = ask(capsys, "simulate", write(model={"name": "gpt2"}), "--plan", "mine.toml")
    assert document["left_open"] == {"tensor_shares": [1] * 8, "sequence_parallel": False, "recompute": "none"}


def test_what_better_machines_would_bring_is_told_without_asking(write, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(model={"name": "gpt2"})
    _, document = ask(capsys, "plan", path)
    told = [one["change"] for one in document["what_if"]]
    assert told == ["links between hosts twice as fast", "links inside a host twice as fast", "twice the memory"]
    assert main(["plan", path]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.strip().partition(":")[0] for line in lines[-4:-1]] == told


def test_a_plan_that_may_run_out_of_memory_says_so_where_it_is_explained(write, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cluster = {"device": "rtx-4090", "nodes": 16, "devices_per_node": 4, "inter_link": "ethernet-10gbit"}
    batch = {"global_batch": 16, "sequence_length": 4096, "precision": "bf16"}
    path = write(model={"name": "llama3-70b"}, training=batch, cluster=cluster)
    code, document = ask(capsys, "plan", path, "--explain", "2")
    told, risk = document["explained"], document["plans"][1]["out_of_memory"]
    assert (code, told["fits"], told["out_of_memory"]) == (0, True, risk)
    assert 0.1 < risk < 0.5
    assert main(["plan", path, "--explain", "2"]) == 0
    assert f"\nIt may run out of memory ({risk:.0%}).\n" in capsys.readouterr().out


@pytest.mark.parametrize("asked", ["0", "999", "banana", pytest.param("9" * 5000, id="digits"),
                                   pytest.param("n" * 5000, id="letters")])  # fmt: skip
def test_what_can_t_be_explained_is_input_that_can_t_be_used(write, capsys, tmp_path, monkeypatch, asked):
    monkeypatch.chdir(tmp_path)
    code, document = ask(capsys, "plan", write(model={"name": "gpt2"}), "--explain", asked)
    assert code == 2
    assert f"--explain {asked[:40]}" in document["error"]["message"]
    assert len(document["error"]["message"]) < 200
    assert not (tmp_path / "plan.toml").exists()


def test_simulate_plays_the_plan_that_plan_wrote(write, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(model={"name": "gpt2"}, plan={"pipeline": 2, "schedule": "1f1b"})
    _, planned = ask(capsys, "plan", path)
    code, document = ask(capsys, "simulate", path, "--plan", "plan.toml", "--trace", "trace.json", "--svg", "step.svg")
    assert code == 0
    assert document["step_seconds"] == pytest.approx(planned["plans"][0]["step_seconds"])
    assert document["bill"] == pytest.approx(planned["plans"][0]["bill"])
    assert document["memory_bytes"] == planned["plans"][0]["memory_bytes"]
    assert document["out_of_memory"] == planned["plans"][0]["out_of_memory"]
    assert len(document["ranks"]) == 8
    assert {action["action"] for action in document["ranks"][7]["actions"]} >= {"1F0", "1B0"}
    assert (tmp_path / "step.svg").read_text().startswith("<svg")
    assert main(["simulate", path]) == 0
    assert f"MFU {document['bill']['model_flops_utilisation']:.1%}" in capsys.readouterr().out


def test_a_bill_says_how_well_devices_are_used(write, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(model={"name": "gpt2"})
    _, document = ask(capsys, "plan", path, "--top", "1")
    bill = document["plans"][0]["bill"]
    assert 0.01 < bill["model_flops_utilisation"] < 1
    assert main(["plan", path]) == 0
    told = f"{bill['device_flops_per_second'] / 1e12:,.0f} TFLOP/s a device, MFU {bill['model_flops_utilisation']:.1%}"
    assert told in " ".join(capsys.readouterr().out.split())


def test_the_least_money_needs_a_price(write, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(model={"name": "gpt2"})
    code, document = ask(capsys, "plan", path, "--objective", "money")
    assert code == 2
    assert "cluster.price_per_hour" in document["error"]["message"]


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("mi300x", "no published run on cdna3 devices (mi300x) in bf16 was looked at"),
        ("v100-32gb", "only 1 published run on volta devices (v100-32gb) in fp16 was looked at"),
    ],
)
def test_a_page_says_in_its_notes_words_why_its_intervals_are_wide(write, tmp_path, monkeypatch, device, words):
    monkeypatch.chdir(tmp_path)
    path = write(model={"name": "gpt2"}, training=WIDE | {"precision": "bf16"}, cluster={"device": device})
    assert main(["plan", path, "--page", "plan.html"]) == 0
    page = (tmp_path / "plan.html").read_text()
    assert f"wide here, since {words}." in page
    assert f"{words}: its data sheet alone" in page


def test_a_page_shows_the_plan_and_needs_no_network(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(model={"name": "gpt2"}, cluster={**ELSEWHERE, "price_per_hour": 2.0})
    assert main(["plan", path, "--page", "plan.html"]) == 0
    page = (tmp_path / "plan.html").read_text()
    assert "<svg" in page
    assert "h100-80gb" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert main(["simulate", path, "--page", "step.html"]) == 0
    assert "<svg" in (tmp_path / "step.html").read_text()

"""`plait plan` and `plait simulate`: the documents of the contract, the files they leave, and their exit codes."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import tomli_w

from plait.api import load
from plait.api import plan as api_plan
from plait.cli.main import main
from plait.devices.host import this_processor
from plait.layers.parameters import parameters
from plait.planner.search import search
from plait.plans.files import read_plan
from plait.schedules.action import Action
from plait.specs.measurement_files import write_measurements
from tests.contract.golden import assert_shape, contract_table, golden
from tests.planner.machines import machine, room_for


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder to work in, with a job that leaves its plan open, and a machine that was measured."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    write_measurements(machine(cores=2, dispatch=2e-6), tmp_path / "cache" / "measurements.json")
    write_job("job.toml", without=["plan"])
    return tmp_path


def write_job(name, changes=None, without=()):
    with open(name, "wb") as file:
        tomli_w.dump(contract_table(changes, without), file)


def ask(capsys, *words):
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_document_of_a_plan(capsys):
    code, document = ask(capsys, "plan", "job.toml")
    assert code == 0
    assert_shape(document, golden("plan"))
    assert len(document["plans"]) == document["legal"] <= document["considered"]
    assert document["plans"][0]["lost_because"] is None
    assert document["parameters"] == document["active_parameters"] == parameters(load("job.toml").model).total
    keys = set(contract_table()["plan"])
    for one in document["plans"]:
        assert set(one["plan"]) == keys
        terms = one["terms"]
        total = terms["compute"] + terms["bubble"] + terms["optimizer"] + sum(terms["exposed"].values())
        assert total == pytest.approx(one["step_seconds"])
        assert len(one["memory_bytes"]) == 4


def test_the_best_plan_is_left_as_a_file(capsys, place):
    _, document = ask(capsys, "plan", "job.toml")
    written = read_plan("plan.toml", load("job.toml"))
    assert document["written"] == "plan.toml"
    assert tomllib.loads((place / "plan.toml").read_text())["plan"] == document["plans"][0]["plan"]
    assert written.prediction.step_seconds == document["plans"][0]["step_seconds"]
    assert ask(capsys, "plan", "job.toml", "--out", "other.toml")[0] == 0
    assert read_plan("other.toml", load("job.toml")).plan == written.plan


BY_HAND = '# a plan of my own\n[plan]\ndata = 2\npipeline = 2\nmicrobatch = 1\nschedule = "gpipe"\n'


def test_the_file_that_is_explained_stays(capsys, place):
    (place / "plan.toml").write_text(BY_HAND)
    code, document = ask(capsys, "plan", "job.toml", "--explain", "plan.toml")
    assert (code, document["written"], document["explained"]["place"]) == (0, None, None)
    assert document["not_written"].startswith("plan.toml is the plan that --explain reads (--out FILE writes")
    (place / "same.toml").symlink_to("plan.toml")
    code, document = ask(capsys, "plan", "job.toml", "--explain", "plan.toml", "--out", "same.toml")
    assert (code, document["error"]["kind"]) == (2, "unusable_input")
    assert "--out same.toml is the plan that --explain reads, which it would replace" in document["error"]["message"]
    assert (place / "plan.toml").read_text() == BY_HAND
    _, document = ask(capsys, "plan", "job.toml", "--explain", "plan.toml", "--out", "best.toml")
    assert (document["written"], document["not_written"]) == ("best.toml", None)
    assert read_plan("best.toml", load("job.toml")).prediction is not None


@pytest.mark.parametrize("text", [BY_HAND, "no TOML"])
def test_a_plan_that_plait_did_not_write_is_replaced_only_if_asked(capsys, place, text):
    (place / "plan.toml").write_text(text)
    assert main(["plan", "job.toml"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("not written: the plan.toml that is there was not written by `plait plan`")
    assert (place / "plan.toml").read_text() == text
    assert ask(capsys, "plan", "job.toml", "--out", "plan.toml")[1]["written"] == "plan.toml"
    assert ask(capsys, "plan", "job.toml")[1]["written"] == "plan.toml"  # now it is one of Plait's


@pytest.mark.parametrize(
    ("old", "new", "whose"),
    [
        ("bucket_bytes = ", "bucket_bytes = 1", "was edited since"),
        ("# 4 ranks: ", "# mine: ", "was edited since"),
        ("# as Plait wrote it: ", "# ", "was not written by"),
    ],
)
def test_a_plan_that_somebody_edited_is_theirs(capsys, place, old, new, whose):
    ask(capsys, "plan", "job.toml")
    written = (place / "plan.toml").read_text()
    assert written.count(old) == 1
    (place / "plan.toml").write_text(written.replace(old, new))
    _, document = ask(capsys, "plan", "job.toml")
    assert document["written"] is None
    assert document["not_written"].startswith(f"the plan.toml that is there {whose} ")
    assert (place / "plan.toml").read_text() == written.replace(old, new)
    (place / "plan.toml").write_text(written)
    assert ask(capsys, "plan", "job.toml")[1]["written"] == "plan.toml"


def test_a_job_is_no_place_for_a_plan(capsys, place):
    before = (place / "job.toml").read_text()
    code, document = ask(capsys, "plan", "job.toml", "--out", "./job.toml")
    assert (code, document["error"]["kind"]) == (2, "unusable_input")
    (place / "plan.toml").write_text(before)
    assert ask(capsys, "plan", "plan.toml")[1]["not_written"].startswith("plan.toml is the job")
    assert (place / "job.toml").read_text() == (place / "plan.toml").read_text() == before


def test_as_many_plans_as_asked(capsys):
    assert len(ask(capsys, "plan", "job.toml", "--top", "3")[1]["plans"]) == 3


def test_a_plan_is_explained_by_its_place_or_its_file(capsys):
    _, document = ask(capsys, "plan", "job.toml", "--explain", "2")
    told = document["explained"]
    assert told["place"] == 2
    assert told["plan"] == document["plans"][1]["plan"]
    assert told["lost_because"] == document["plans"][1]["lost_because"]
    assert {one["change"] for one in told["what_if"]} >= {"links twice as fast", "half the memory"}
    assert any(one["name"].startswith("data") for one in told["obvious"])
    _, again = ask(capsys, "plan", "job.toml", "--explain", "plan.toml")
    assert again["explained"]["place"] == 1
    assert again["explained"]["lost_because"] is None
    assert main(["plan", "job.toml", "--explain", "1", "--top", "1"]) == 0
    out = capsys.readouterr().out
    for words in ("Plan 1: ", "Plans that one might have expected", "What would change the answer"):
        assert words in out


MINE = {"data": 2, "tensor": 1, "pipeline": 2, "microbatch": 1, "schedule": "gpipe"}


def write_plan_by_hand(**keys):
    with open("mine.toml", "wb") as file:
        tomli_w.dump({"plan": MINE | keys}, file)


def test_a_plan_by_hand_is_priced_and_laid_beside_the_best(capsys):
    write_plan_by_hand()
    code, document = ask(capsys, "plan", "job.toml", "--explain", "mine.toml")
    told = document["explained"]
    assert (code, told["place"], told["fits"]) == (0, None, True)
    assert told["plan"] | MINE == told["plan"]
    assert told["step_seconds"] == ask(capsys, "simulate", "job.toml", "--plan", "mine.toml")[1]["step_seconds"]
    assert told["beside_seconds"] == document["plans"][0]["step_seconds"] < told["step_seconds"]
    assert told["lost_because"]
    assert main(["plan", "job.toml", "--explain", "mine.toml", "--top", "1"]) == 0
    out = capsys.readouterr().out
    assert "The plan in mine.toml: data 2 × pipeline 2, microbatch 1, gpipe" in out
    assert "It fits the memory." in out


def test_what_a_plan_by_hand_leaves_open_is_told(capsys, place):
    (place / "mine.toml").write_text("[plan]\npipeline = 4\n")
    taken = {"microbatch": 1, "schedule": "1f1b", "stages": [2, 2, 2, 1]}
    assert ask(capsys, "plan", "job.toml", "--explain", "mine.toml")[1]["explained"]["left_open"] == taken
    assert ask(capsys, "simulate", "job.toml", "--plan", "mine.toml")[1]["left_open"] == taken
    for words in (["plan", "job.toml", "--explain"], ["simulate", "job.toml", "--plan"]):
        assert main([*words, "mine.toml"]) == 0
        told = "left open in mine.toml, and taken: microbatch 1, schedule 1f1b, stages 2+2+2+1"
        assert told in capsys.readouterr().out.splitlines()
    assert ask(capsys, "plan", "job.toml", "--explain", "2")[1]["explained"]["left_open"] == {}
    assert main(["simulate", "job.toml", "--plan", "plan.toml"]) == 0
    assert "left open" not in capsys.readouterr().out


def test_a_plan_by_hand_that_is_too_large_or_not_legal_says_so(capsys, place):
    _, document = ask(capsys, "plan", "job.toml")
    least = min(sum(one["memory_bytes"]) for one in document["plans"])
    write_measurements(machine(cores=2, memory=room_for(least)), place / "small.json")
    write_plan_by_hand(microbatch=8)
    code, document = ask(capsys, "plan", "job.toml", "--measurements", "small.json", "--explain", "mine.toml")
    assert (code, document["explained"]["fits"]) == (0, False)
    assert "dies first" in document["explained"]["lost_because"]
    write_plan_by_hand(tensor=48)
    code, document = ask(capsys, "plan", "job.toml", "--explain", "mine.toml")
    assert (code, document["error"]["kind"]) == (2, "illegal_job")
    assert "tensor = 48 exceeds" in document["error"]["message"]


@pytest.mark.parametrize("objective", ["money", "energy"])
def test_what_this_machine_has_no_price_of_is_refused(capsys, place, objective):
    code, document = ask(capsys, "plan", "job.toml", "--objective", objective)
    assert (code, document["error"]["kind"]) == (2, "unusable_input")
    assert f"the least time is the least {objective}" in document["error"]["message"]
    assert not (place / "plan.toml").exists()
    assert ask(capsys, "plan", "job.toml", "--objective", "time")[0] == 0


@pytest.mark.parametrize("asked", ["0", "99999", "no such file"])
def test_what_can_t_be_explained_is_input_that_can_t_be_used(capsys, asked):
    code, document = ask(capsys, "plan", "job.toml", "--explain", asked)
    assert code == 2
    assert f"--explain {asked}" in document["error"]["message"]


def test_what_the_job_fixes_is_kept(capsys):
    write_job("fixed.toml", {"plan.microbatch": 1}, ["plan.stages", "plan.schedule"])
    code, document = ask(capsys, "plan", "fixed.toml")
    fixed = contract_table({"plan.microbatch": 1}, ["plan.stages", "plan.schedule"])["plan"]
    assert code == 0
    assert all(one["plan"] | fixed == one["plan"] for one in document["plans"])


def test_people_read_a_table(capsys):
    assert main(["plan", "job.toml", "--top", "2"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert "plans considered" in lines[0]
    assert lines[1] == f"{parameters(load('job.toml').model).total / 1e6:.4g} million parameters"
    assert "why it lost" in out
    assert "… and " in out
    assert lines[-1] == "written to plan.toml"


def test_who_is_slower_is_said_and_takes_less(capsys, place):
    unlike = replace(machine(flops=1e9, latency=1e-7, link=1e12), speeds=(1.0, 1.0, 0.5, 0.5))
    write_measurements(unlike, place / "unlike.json")
    write_job("two.toml", {"cluster.ranks": 4, "plan": {"data": 2, "tensor": 2}})
    assert main(["plan", "two.toml", "--measurements", "unlike.json"]) == 0
    words = "Data rank 1 computes at half the speed: it takes 5 of 16 sequences."
    assert words in capsys.readouterr().out.splitlines()
    _, document = ask(capsys, "plan", "two.toml", "--measurements", "unlike.json")
    assert document["paces"] == [
        {"axis": "data", "place": 0, "speed": 1.0, "share": 11},
        {"axis": "data", "place": 1, "speed": 0.5, "share": 5},
    ]
    assert read_plan("plan.toml", load("two.toml")).plan.data_shares == (11, 5)
    even = next(one for one in document["plans"] if one["plan"]["data_shares"] == [1, 1])
    assert even["lost_because"] == "data rank 1 computes at half the speed: it takes 8 of 16 sequences"


def test_nothing_fits_is_the_answer_no(capsys, place):
    write_measurements(machine(cores=2, memory=10**6), place / "small.json")
    code, document = ask(capsys, "plan", "job.toml", "--measurements", "small.json")
    assert code == 1
    assert document["error"]["kind"] == "nothing_fits"
    assert "dies first" in document["error"]["message"]
    assert not (place / "plan.toml").exists()


@pytest.mark.parametrize("command", ["plan", "simulate"])
def test_bad_input_is_refused(capsys, place, command):
    write_job("illegal.toml", {"plan.tensor": 48}, ["plan.tensor_shares"])
    assert ask(capsys, command, "illegal.toml")[0] == 2
    assert ask(capsys, command, "nowhere.toml")[1]["error"]["kind"] == "unusable_input"
    (place / "bad.json").write_text("{}")
    code, document = ask(capsys, command, "job.toml", "--measurements", "bad.json")
    assert (code, document["error"]["kind"]) == (2, "unusable_input")


def test_a_machine_never_measured_is_measured_first(capsys, place, monkeypatch):
    (place / "cache" / "measurements.json").unlink()
    asked: list[str] = []

    def profile(*, tell):
        tell("links")
        asked.append("measured")
        return machine(cores=2)

    monkeypatch.setattr("plait.api._profile_here", profile)
    assert main(["plan", "job.toml"]) == 0
    assert "never measured this machine before: timing links" in capsys.readouterr().err
    assert main(["plan", "job.toml"]) == 0
    assert asked == ["measured"]


def test_the_document_of_a_simulation(capsys):
    ask(capsys, "plan", "job.toml")
    code, document = ask(capsys, "simulate", "job.toml", "--plan", "plan.toml")
    assert code == 0
    assert_shape(document, golden("simulate"))
    assert document["step_seconds"] == ask(capsys, "plan", "job.toml")[1]["plans"][0]["step_seconds"]
    assert [one["rank"] for one in document["ranks"]] == [0, 1, 2, 3]
    for rank in document["ranks"]:
        assert all(Action.parse(one["action"]) and one["start"] <= one["end"] for one in rank["actions"])


def test_the_bubble_of_a_simulation(capsys, place):
    # a machine of four devices with free links; two stages as even as they go: 7 blocks, the head as much as 0.1 more
    write_measurements(machine(latency=0.0, link=1e18), place / "free.json")
    write_job("piped.toml", {"model.layers": 8, "model.vocab": 1003, "plan": {"pipeline": 4, "microbatch": 2}})
    _, document = ask(capsys, "simulate", "piped.toml", "--measurements", "free.json")
    assert document["bubble_fraction"] == pytest.approx(3 / (8 + 3), rel=0.35)
    starts = [min(one["start"] for one in rank["actions"]) for rank in document["ranks"]]
    assert starts == sorted(starts)


def test_without_a_plan_the_best_one_is_simulated(capsys):
    assert ask(capsys, "simulate", "job.toml")[1]["step_seconds"] > 0


def test_a_trace_for_perfetto(capsys, place):
    assert main(["simulate", "job.toml", "--trace", "trace.json"]) == 0
    assert "trace written to trace.json" in capsys.readouterr().out
    events = json.loads((place / "trace.json").read_text())["traceEvents"]
    kinds = {event["name"].strip("0123456789") for event in events if event["ph"] == "X"}
    assert "F" in kinds
    assert "B" in kinds or {"I", "W"} <= kinds  # the best plan's schedule may divide backward
    code, document = ask(capsys, "simulate", "job.toml", "--trace", "no/such/trace.json")
    assert (code, document["error"]["kind"]) == (2, "unusable_input")


def test_people_see_the_timeline(capsys):
    write_job("piped.toml", {"plan": {"pipeline": 2, "data": 2, "microbatch": 2, "schedule": "1f1b"}})
    assert main(["simulate", "piped.toml"]) == 0
    out = capsys.readouterr().out
    assert "a line a stage, of 2 ranks each" in out
    assert [line[:9] for line in out.splitlines() if line.startswith("rank")] == ["ranks 0–1", "ranks 2–3"]
    assert "F0" in out
    assert "a step takes" in out


def test_several_stages_and_two_parts_of_backward_are_seen(capsys, place):
    write_job("v.toml", {"model.layers": 4, "plan": {"pipeline": 2, "data": 2, "microbatch": 2, "schedule": "zb-v"}})
    assert main(["simulate", "v.toml", "--svg", "v.svg", "--trace", "v.json"]) == 0
    out = capsys.readouterr().out
    assert "a line a rank of the pipeline, of 2 ranks each; F forward, I backward of inputs, W of weights" in out
    assert "picture written to v.svg" in out
    kinds = set("FIW")
    picture = ElementTree.parse(place / "v.svg").getroot()
    drawn = {one.attrib["data-action"] for one in picture.iter() if "data-action" in one.attrib}
    assert {Action.parse(one).kind for one in drawn} == kinds
    assert {one.text for one in picture.iter() if "rank" in (one.text or "")} >= {"ranks 0–1", "ranks 2–3"}
    events = json.loads((place / "v.json").read_text())["traceEvents"]
    assert {one["pid"] for one in events} == {0, 2}
    assert drawn == {one["name"] for one in events if one["ph"] == "X" and one["cat"] == "compute"}
    _, document = ask(capsys, "simulate", "v.toml")
    for rank in document["ranks"]:
        actions = [Action.parse(one["action"]) for one in rank["actions"]]
        assert len({action.stage for action in actions}) == 2
        assert kinds <= {action.kind for action in actions}
    code, document = ask(capsys, "simulate", "v.toml", "--svg", "no/such/v.svg")
    assert (code, document["error"]["kind"]) == (2, "unusable_input")


def test_a_grid_is_simulated_from_its_file(capsys, place):
    (place / "grid.txt").write_text("F0 F1 .. B0 B1\n.. F0 B0 F1 B1\n")
    write_job("grid.toml", {"plan": {"pipeline": 2, "data": 2, "schedule": "grid.txt"}})
    code, document = ask(capsys, "simulate", "grid.toml")
    assert code == 0
    computed = [one["action"] for one in document["ranks"][0]["actions"] if "_" not in one["action"]]
    assert computed == ["0F0", "0F1", "0B0", "0B1"]


def test_a_plan_for_another_job_is_refused(capsys, place):
    ask(capsys, "plan", "job.toml")
    write_job("other.toml", {"model.layers": 5}, ["plan"])
    table = tomllib.loads((place / "plan.toml").read_text())
    table["plan"]["stages"] = [7]
    (place / "plan.toml").write_text(tomli_w.dumps({"plan": table["plan"]}))
    code, document = ask(capsys, "simulate", "other.toml", "--plan", "plan.toml")
    assert (code, document["error"]["kind"]) == (2, "illegal_job")


HOSTS = {
    "cluster": {"nodes": 2, "devices_per_node": 1, "inter_link": "ethernet-50mbit"},
    "plan": {"data": 2, "zero": 0},
}


def test_what_would_hide_a_slow_link_is_named(capsys):
    write_job("hosts.toml", HOSTS, ["cluster", "plan"])
    code, document = ask(capsys, "plan", "hosts.toml")
    assert code == 0
    assert {one["algorithm"] for one in document["sums"]} == {"gloo"}
    assert sum(one["count"] * one["bytes"] for one in document["sums"]) > 0
    found = document["would_hide"]
    first = found["choices"][0]
    assert first["step_seconds"] < document["plans"][0]["step_seconds"] == found["dense_seconds"]
    assert first["plan"] | first["keys"] == first["plan"]
    asked = {**HOSTS, "plan": HOSTS["plan"] | first["plan"]}
    write_job("taken.toml", asked, ["cluster", "plan"])
    taken = ask(capsys, "plan", "taken.toml")[1]["plans"][0]
    assert taken["step_seconds"] == first["step_seconds"]  # who takes the advice gets what it says
    assert main(["plan", "hosts.toml"]) == 0
    assert "What would hide it" in capsys.readouterr().out


def test_one_host_has_no_link_to_hide(capsys):
    _, document = ask(capsys, "plan", "job.toml")
    assert document["would_hide"] is None


UNKNOWN = "nobody has said or measured what joins the hosts"


def measured_apart():
    """The machine of these tests, on two hosts that were measured together."""
    found = machine(cores=2, dispatch=2e-6)
    links = (replace(link, hosts=2, alpha0=0.01, overhead=1e-4) for link in found.collectives)
    return replace(found, collectives=(*found.collectives, *links))


def test_hosts_that_were_measured_together_are_known_without_torchrun(capsys, place):
    changes = {"cluster": {"nodes": 2, "devices_per_node": 1}, "plan": {"data": 2, "zero": 0}}
    write_job("hosts.toml", changes, ["cluster", "plan"])
    guessed = ask(capsys, "plan", "hosts.toml")[1]
    assert any(guess.startswith(UNKNOWN) for guess in guessed["guesses"])
    write_measurements(measured_apart(), place / "cache" / "measurements-2-hosts.json")
    _, known = ask(capsys, "plan", "hosts.toml")
    assert not any(guess.startswith(UNKNOWN) for guess in known["guesses"])
    job = load("hosts.toml")
    first = search(job, measured_apart()).best.prediction.step_seconds
    assert known["plans"][0]["step_seconds"] == first > guessed["plans"][0]["step_seconds"]
    assert api_plan(job).best.prediction.step_seconds == first
    assert ask(capsys, "simulate", "hosts.toml", "--plan", "plan.toml")[1]["step_seconds"] == first


def test_one_host_asks_nothing_of_two(capsys, place):
    _, before = ask(capsys, "plan", "job.toml")
    (place / "cache" / "measurements-2-hosts.json").write_text("{}")
    assert ask(capsys, "plan", "job.toml")[1]["plans"] == before["plans"]


@pytest.mark.parametrize("command", ["plan", "simulate"])
def test_a_profile_that_is_not_this_machine_s_is_doubted(capsys, place, command):
    _, document = ask(capsys, command, "job.toml")
    (elsewhere,) = [guess for guess in document["guesses"] if "`plait profile` measures this machine" in guess]
    assert elsewhere in api_plan(load("job.toml")).guesses
    assert main([command, "job.toml"]) == 0
    assert f"a guess: {elsewhere}" in capsys.readouterr().out
    here, (processor, cores) = machine(cores=2, dispatch=2e-6), this_processor()
    assert here.host is not None
    host = replace(here.host, processor=processor, cores=cores, busy_cores=1.5)
    write_measurements(replace(here, host=host), place / "cache" / "measurements.json")
    _, document = ask(capsys, command, "job.toml")
    (busy,) = [guess for guess in document["guesses"] if guess.startswith("profiled")]
    assert busy.startswith("profiled while other programs kept 1.5 cores busy")


def test_a_link_that_nobody_knows_is_a_guess(capsys):
    write_job("hosts.toml", {"cluster": {"nodes": 2, "ranks": 2}, "plan": {"data": 2}}, ["cluster", "plan"])
    assert any("taken for ethernet-1gbit" in guess for guess in ask(capsys, "plan", "hosts.toml")[1]["guesses"])

"""A run's files become a report's data; a file that can't be used is named."""

import json
from math import isnan

import pytest
import tomli_w

from plait.errors import IllegalJob, UnusableInput
from plait.plans.files import plan_table, write_plan
from plait.plans.plan import Plan
from plait.plans.prediction import prediction_table
from plait.report.data import Machine, Sample
from plait.report.page import render_report
from plait.report.run import report_data
from plait.report.spans import end_of
from tests.report.example import PLAN, each_step, example, lanes, losses, prediction
from tests.report.reading import parse

JOB = {
    "model": {"layers": 8, "hidden": 64, "heads": 4, "kv_heads": 4, "ffn": 256, "vocab": 500},
    "training": {"steps": 200, "global_batch": 16, "sequence_length": 128},
    "cluster": {"ranks": 4},
}
TERMS = {"compute": 0.24, "bubble": 0.06, "optimizer": 0.01, "exposed": {"data": 0.02}}
MEASURED = {
    "step_seconds": 0.3366,
    "tokens_per_second": 6084.4,
    "terms": TERMS,
    "memory_bytes": [210, 209, 180, 179],
    "machine": {"processor": "a CPU", "cores": 2, "memory_bytes": 2**34},
    "date": "2025-11-21",
    "bytes_per_token": 3.1,
    "baselines": {"bigram": 3.6},
    "memory_limit_bytes": 4096,
}
PLANS = {
    "search_seconds": 0.2,
    "considered": 100,
    "legal": 7,
    "too_close_to_call": True,
    "plans": [
        {
            "plan": plan_table(plan),
            "step_seconds": 0.3,
            "interval": [0.2, 0.4],
            "memory_bytes": [1, 2],
            "terms": TERMS,
            "lost_because": why,
        }
        for plan, why in ((PLAN, None), (Plan(data=4, stages=(8,), data_shares=(1, 1, 1, 1)), "slower"))
    ],
}
VERIFIED = {"verdict": "EXACT", "tensors": [{"error_eps": 0.0}], "culprit": None}


def rows(lane):
    return [[span.name, span.start, span.end] for span in lane]


def metrics():
    seconds = dict(each_step())
    lines = [{"step": 0, "validation_loss": 6.2}]
    lines += [
        {"step": s, "loss": loss, "tokens": 2048, "seconds": seconds[s], "predicted_seconds": 0.3}
        for s, loss in losses()
    ]
    lines[100]["validation_loss"] = 4.1
    lines[50]["loss"] = None
    return lines


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / "job.toml").write_text(tomli_w.dumps(JOB))
    write_plan(folder / "plan.toml", PLAN, prediction())
    timeline = [rows(lane) for lane in lanes()]
    put(folder, "prediction.json", {**prediction_table(prediction()), "timeline": timeline})
    put(folder, "measured.json", {**MEASURED, "timeline": timeline})
    put(folder, "plans.json", PLANS)
    put(folder, "verify.json", VERIFIED)
    put(folder, "samples.json", [{"prompt": "def ", "text": "f():"}])
    put(folder, "commands.json", ["make demo"])
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics()))
    return folder


def put(folder, name, document):
    (folder / name).write_text(json.dumps(document))


def test_everything_is_read(run):
    data = report_data(run)
    assert (data.name, data.date, data.plan) == ("first", "2025-11-21", PLAN)
    assert data.machine == Machine(processor="a CPU", cores=2, memory_bytes=2**34)
    assert data.prediction == prediction()
    assert end_of(data.predicted_lanes) == end_of(data.measured_lanes) == end_of(lanes())
    assert (data.measured.step_seconds, data.measured.memory_bytes) == (0.3366, (210, 209, 180, 179))
    assert data.measured.terms.exposed == {"data": 0.02}
    assert data.measured.each_step == each_step()
    assert data.memory_limit == 4096
    assert data.samples == (Sample(prompt="def ", text="f():"),)
    assert data.commands == ("make demo",)
    assert data.verdict.verdict == "EXACT"


def test_the_search_is_that_of_the_plan_document(run):
    search = report_data(run).search
    assert (search.considered, search.legal, search.too_close_to_call) == (100, 7, True)
    assert [plan.lost_because for plan in search.plans] == [None, "slower"]
    assert search.plans[0].plan == PLAN
    assert search.plans[0].terms.compute == 0.24


def test_losses_are_read_with_those_before_the_first_step(run):
    learning = report_data(run).learning
    assert learning.validation == ((0, 6.2), (100, 4.1))
    assert [step for step, _ in learning.train] == list(range(1, 201))
    assert isnan(learning.train[49][1])
    assert (learning.bytes_per_token, learning.baselines) == (3.1, {"bigram": 3.6})


def test_held_out_losses_of_the_measurements_count_before_those_of_the_lines(run):
    put(run, "measured.json", {**MEASURED, "validations": [[0, 6.3], [200, None]]})
    (first, last) = report_data(run).learning.validation
    assert first == (0, 6.3)
    assert last[0] == 200
    assert isnan(last[1])


def test_null_is_a_number_that_is_not_finite(run):
    terms = {"compute": None, "bubble": 0.1, "optimizer": 0.1, "exposed": {"data": None}}
    put(run, "measured.json", {"step_seconds": None, "tokens_per_second": None, "terms": terms})
    data = report_data(run)
    assert isnan(data.measured.step_seconds)
    assert isnan(data.measured.terms.exposed["data"])
    parse(render_report(data))


def test_a_schedule_alone_is_given_its_sums_and_optimizer(run):
    actions = [[row for row in rows(lane) if row[0] not in ("data", "optimizer")] for lane in lanes()]
    put(run, "prediction.json", {**prediction_table(prediction()), "timeline": actions})
    kinds = [{span.kind for span in lane} for lane in report_data(run).predicted_lanes]
    assert kinds == [{"forward", "backward", "pipeline", "data", "optimizer"}] * 2


def test_the_job_is_summed_up(run):
    job = report_data(run).job
    blocks = 8 * (4 * 64 * 64 + 4 * 64 + 2 * 64 * 256 + 256 + 64 + 4 * 64)
    assert job.parameters == 500 * 64 + 128 * 64 + blocks + 2 * 64  # GPT-2's shape, tied, with biases
    assert (job.tokens_per_step, job.steps) == (2048, 200)


def test_what_was_read_is_drawn(run):
    tree = parse(render_report(report_data(run)))
    assert len(tree.all("section")) == 9
    assert tree.one("h1").text == "first"


def test_only_job_and_plan_are_needed(run):
    for path in run.iterdir():
        if path.suffix != ".toml":
            path.unlink()
    data = report_data(run)
    assert (data.prediction, data.measured, data.learning, data.search, data.verdict) == (None,) * 5
    assert [s.attributes["id"] for s in parse(render_report(data)).all("section")] == ["plan"]


def test_a_run_that_ended_early_shows_what_it_learnt(run):
    (run / "measured.json").unlink()
    data = report_data(run)
    assert data.measured is None
    assert len(data.learning.train) == 200


def test_optional_keys_may_be_left_out(run):
    put(run, "measured.json", {"step_seconds": 0.3, "tokens_per_second": 5.0})
    data = report_data(run)
    assert (data.measured.terms, data.measured.memory_bytes, data.machine, data.memory_limit) == (None, (), None, None)
    assert data.learning.bytes_per_token is None


@pytest.mark.parametrize("name", ["job.toml", "plan.toml"])
def test_a_run_without_its_job_or_plan_is_refused(run, name):
    (run / name).unlink()
    with pytest.raises(UnusableInput, match=name):
        report_data(run)


def test_a_plan_of_another_job_is_refused(run):
    (run / "job.toml").write_text(tomli_w.dumps({**JOB, "model": {**JOB["model"], "layers": 9}}))
    with pytest.raises(IllegalJob, match="stages"):
        report_data(run)


DOCUMENTS = ["prediction.json", "measured.json", "plans.json", "verify.json", "samples.json", "commands.json"]


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("content", ['{"half": ', "7", "[7]", '{"a": 1}', "\x00", '"words"'])
def test_a_damaged_document_is_named(run, name, content):
    (run / name).write_text(content)
    with pytest.raises(UnusableInput, match=name):
        report_data(run)


def test_a_document_that_is_no_text_is_named(run):
    (run / "measured.json").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UnusableInput, match=r"measured\.json can't be read"):
        report_data(run)


@pytest.mark.parametrize("line", ['{"step": 1, "lo', "[]", '{"loss": 2.0}', '{"step": "one"}'])
def test_a_damaged_line_is_named_with_its_number(run, line):
    with (run / "metrics.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UnusableInput, match=r"line 202 of .*metrics\.jsonl is no step"):
        report_data(run)


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("measured.json", {"timeline": [[["0X0", 0, 1]]]}, "0X0"),
        ("measured.json", {"terms": {"compute": 1}}, "without exposed"),
        ("measured.json", {"machine": {"colour": "blue"}}, "without processor"),
        ("measured.json", {"memory_bytes": ["x"]}, "malformed"),
        ("measured.json", {"validations": [3]}, "malformed"),
        ("prediction.json", {"interval": [1]}, "malformed prediction"),
        ("plans.json", {"plans": [{}]}, "without interval"),
    ],
)
def test_a_bad_value_is_named_with_its_file(run, name, change, complaint):
    put(run, name, {**json.loads((run / name).read_text()), **change})
    with pytest.raises(UnusableInput, match=rf"{name}.*{complaint}"):
        report_data(run)


def test_the_example_is_all_of_a_report():
    assert all(getattr(example(), field) for field in vars(example()))

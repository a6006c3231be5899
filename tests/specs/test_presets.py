"""A model with a name is read as its shape; keys beside the name override it. Their counts: tests/layers."""

import pytest

from plait.specs.files import job_from_table, job_table, parse_job
from plait.specs.presets import PRESETS

ELSEWHERE = {"device": "h100-80gb", "nodes": 4}


def test_keys_override_the_named_shape():
    model = job_from_table({"model": {"name": "llama3-8b", "layers": 2, "vocab": 300}}).model
    assert (model.layers, model.vocab, model.kv_heads, model.positions) == (2, 300, 8, "rope")


@pytest.mark.parametrize("name", PRESETS)
def test_each_can_be_planned_for_and_is_written_as_it_was_read(name):
    job = job_from_table({"model": {"name": name}, "cluster": ELSEWHERE})
    assert job_from_table(job_table(job)) == job


@pytest.mark.parametrize("name", PRESETS)
def test_here_a_name_is_taken_or_refused_with_what_is_not_built(name):
    problems = parse_job({"model": {"name": name}}).problems
    runs = (
        set(PRESETS[name]) <= set(PRESETS["gpt2"]) | {"rope_theta", "window"} and PRESETS[name]["positions"] != "alibi"
    )
    assert [(problem.key, "not built yet" in problem.message) for problem in problems] == (
        [] if runs else [("model.name", True)]
    )


def test_a_window_no_shorter_than_the_sequence_changes_nothing():
    table = {"model": {"name": "mistral-7b"}, "training": {"sequence_length": 4096}}
    assert job_from_table(table).model.window is None
    longer = {**table, "training": {"sequence_length": 8192}, "cluster": ELSEWHERE}
    assert job_from_table(longer).model.window == 4096


def test_heads_as_wide_as_they_would_be_change_nothing():
    job = job_from_table({"model": {"layers": 2, "hidden": 8, "heads": 2, "head_width": 4}, "cluster": ELSEWHERE})
    assert job.model.head_width is None

"""The golden files speak for the contract: its job is legal, every key of it is known, and shapes can be told apart."""

import re
import tomllib

import pytest

from plait.api import check, load
from plait.specs.files import job_from_table, job_table
from plait.specs.tables import RARE, known_keys
from tests.contract.golden import JOB, PAGE, assert_shape, contract_table, golden, mismatch

KEYS = [(table, key) for table, keys in contract_table().items() for key in keys]


def test_the_contract_s_job_is_legal():
    assert check(JOB).errors == ()


def test_every_key_of_the_contract_s_job_round_trips():
    table = contract_table()
    assert job_table(job_from_table(table)) == table


OTHER = {
    "model.layers": 5, "model.hidden": 140, "model.heads": 10, "model.kv_heads": 1, "model.ffn": 333, "model.vocab":
    2048, "model.positions": "learned", "model.rope_theta": 5e5, "model.norm": "layer", "model.norm_eps": 1e-6,
    "model.activation": "relu", "model.bias": True, "model.dropout": 0.25, "model.tie_embeddings": False, "data.text":
    ["a.txt", "b/*.txt"], "data.tokenizer": "bytes", "data.validation_fraction": 0.5, "training.steps": 7,
    "training.global_batch": 32, "training.sequence_length": 33, "training.precision": "bf16", "training.optimizer":
    "sgd", "training.learning_rate": 0.5, "training.warmup_steps": 3, "training.decay": "linear",
    "training.weight_decay": 0.0, "training.betas": [0.5, 0.75], "training.clip_norm": 0.0, "training.validate_every":
    9, "training.deterministic": True, "training.seed": 41, "cluster.ranks": 8, "plan.data": 4, "plan.tensor": 2,
    "plan.pipeline": 4, "plan.microbatch": 1, "plan.schedule": "gpipe", "plan.virtual_stages": 2, "plan.stages": [1, 6],
    "plan.tensor_shares": [2.5, 1], "plan.data_shares": [3, 3], "plan.sequence_parallel": True, "plan.bucket_bytes": 1,
    "plan.zero": 2, "plan.offload": "optimizer", "plan.compression": "powersgd:2", "plan.synchronisation":
    "parameter-server", "plan.local_steps": 8, "plan.staleness": -1, "plan.servers": 2,
}  # fmt: skip
ONE_VALUE = {  # of these, no other value is built yet
    "model.family", "cluster.name", "plan.context", "plan.expert", "plan.recompute",
    "plan.gradient_precision",
}  # fmt: skip


def test_no_key_is_forgotten_here():
    assert {f"{table}.{key}" for table, key in KEYS} == set(OTHER) | ONE_VALUE


@pytest.mark.parametrize("key", sorted(OTHER))
def test_every_key_reaches_the_job(key):
    table = contract_table({key: OTHER[key]})
    changed = job_from_table(table)
    assert changed != job_from_table(contract_table())
    assert job_table(changed) == table


def test_the_commented_keys_of_the_page_are_known():
    cluster = {"device", "nodes", "devices_per_node", "intra_link", "inter_link", "groups"}
    assert cluster <= set(known_keys("cluster"))
    assert {"device", "nodes", "devices_per_node", "price_per_hour", "power_watts"} <= set(known_keys("cluster.groups"))
    assert {"name", "huggingface"} <= set(known_keys("model"))


def test_the_tables_know_no_key_that_the_page_has_not():
    """But for those of networks that the page's keys can't describe, which have names: a job must be writable."""
    text = JOB.read_text(encoding="utf-8")
    for table in ("model", "data", "training", "cluster", "cluster.groups", "plan"):
        beyond = RARE if table == "model" else ()
        assert [key for key in known_keys(table) if not re.search(rf"\b{key}\b", text)] == list(beyond)


def test_a_key_of_the_contract_is_enough():
    assert load(JOB) == job_from_table(tomllib.loads(JOB.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", ["check", "error", "plan", "simulate"])
def test_the_samples_have_the_keys_of_the_page(name):
    assert all(f'"{key}"' in PAGE.read_text(encoding="utf-8") for key in golden(name))


@pytest.mark.parametrize(
    ("document", "sample"),
    [
        ({"a": 1, "more": 2}, {"a": 3}),
        ({"a": 1}, {"a": 2.5}),
        ([], [1]),
        ([1, "x"], [2, "y"]),
        ("anything", None),
        ([3], {"one of": [[1], "words"]}),
        ("x", {"one of": [[1], "words"]}),
    ],
)
def test_a_shape_that_fits(document, sample):
    assert_shape(document, sample)


@pytest.mark.parametrize(
    ("document", "sample", "words"),
    [
        ({}, {"a": 1}, "lacks"),
        ({"a": "x"}, {"a": 1}, "document.a"),
        ({"a": True}, {"a": 1}, "no int"),
        ({"a": 1.5}, {"a": 1}, "no int"),
        ([1, "x"], [1], "[1]"),
        (3, [1], "no list"),
        (3, {"a": 1}, "no table"),
        ({"x": 3}, {"x": {"one of": [[1], "words"]}}, "none of the shapes"),
    ],
)
def test_a_shape_that_does_not_fit(document, sample, words):
    assert words in (mismatch(document, sample) or "")

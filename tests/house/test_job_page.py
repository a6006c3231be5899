"""docs/job.md is the reference of a job's keys: every key that a job takes stands there once, with its default and with
each of its values, and nothing else does."""

from __future__ import annotations

import re
import tomllib
from dataclasses import MISSING, fields

import pytest

from plait.planner.candidates import candidates
from plait.plans.plan import Plan
from plait.specs.choices import CHOICES, COMING_KEYS
from plait.specs.cluster import ClusterSpec
from plait.specs.huggingface import KINDS
from plait.specs.job import Job
from plait.specs.model import ModelSpec
from plait.specs.presets import PRESETS
from plait.specs.tables import known_keys, with_tuples
from plait.specs.training import DataSpec, TrainingSpec
from tests.house.tree import ROOT

PAGE = (ROOT / "docs" / "job.md").read_text("utf-8")
ROW = re.compile(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*) ?\|$", re.MULTILINE)
SPECS = {"model": ModelSpec, "data": DataSpec, "training": TrainingSpec, "cluster": ClusterSpec, "plan": Plan}
TABLES = dict(re.findall(r"^## \[(\w+)\]\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
ROWS = {(table, row[0]): row[1:] for table, text in TABLES.items() for row in ROW.findall(text)}
KEYS = [(table, key) for table in SPECS for key in known_keys(table)]

SMALL = ModelSpec(layers=2, hidden=8, heads=2, kv_heads=2, ffn=8, vocab=8, max_positions=8)
SEARCHED = {("plan", key) for key in next(candidates(Job(model=SMALL, cluster=ClusterSpec(ranks=2))))}
# what is not what the spec says where nobody else does: it comes from other keys, from the machine, or from the search
ELSEWHERE = {(table, key) for table, keys in {
    "model": ("head_width", "window", "query_bias", "norm_bias", "experts", "latent"),
    "cluster": ("ranks", "devices_per_node", "inter_link", "device", "intra_link", "groups", "price_per_hour",
                "power_watts"),
    "plan": ("stages", "tensor_shares", "data_shares", "gradient_precision", "bucket_bytes"),
}.items() for key in keys}  # fmt: skip


def test_every_key_stands_there_and_no_other():
    assert list(ROWS) == sorted(ROWS, key=lambda row: list(SPECS).index(row[0]))
    assert sorted(ROWS) == sorted(KEYS)
    assert len(ROW.findall(PAGE)) == len(ROWS)


@pytest.mark.parametrize(("table", "key"), KEYS)
def test_a_default_is_that_of_the_spec(table, key):
    told = ROWS[table, key][1]
    default = {field.name: field.default for field in fields(SPECS[table])}.get(key, MISSING)
    if (table, key) in SEARCHED:
        assert told == "searched"
    elif default is MISSING or (table, key) in ELSEWHERE:
        assert told
    else:
        said = re.fullmatch(r"`(.*)`", told)
        assert said is not None, told
        assert with_tuples(tomllib.loads(f"value = {said[1]}"))["value"] == default


@pytest.mark.parametrize(("table", "key"), KEYS)
def test_each_value_that_is_built_stands_before_those_that_are_not(table, key):
    told = ROWS[table, key][0]
    built, _, coming = told.partition("not built yet")
    name = f"{table}.{key}"
    if name in COMING_KEYS:
        assert told.endswith("not built yet")
    elif name in CHOICES:
        choice = CHOICES[name]
        assert all(f"`{value}`" in built for value in (*choice.built, *choice.sometimes)), built
        listed = [] if isinstance(choice.coming, range) else choice.coming
        assert all(f"`{value}`" in coming for value in listed)
        assert bool(choice.coming or choice.forms) == ("not built yet" in told)


def test_each_named_model_stands_there():
    assert re.findall(r"`(.+?)`", ROWS["model", "name"][0]) == list(PRESETS)


def test_each_kind_of_configuration_stands_there():
    known = PAGE.partition("### `huggingface`\nKnown by their `model_type` are ")[2].partition(". What")[0]
    assert re.findall(r"`(.+?)`", known) == list(KINDS)


def test_each_key_of_a_group_stands_there():
    assert all(f"`{key}`" in ROWS["cluster", "groups"][2] for key in known_keys("cluster.groups"))

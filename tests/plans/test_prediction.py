"""A prediction survives JSON and TOML unchanged, and a damaged one is refused with what is missing."""

import json
import tomllib

import pytest
import tomli_w

from plait.errors import UnusableInput
from plait.plans.prediction import Prediction, Terms, Traffic, prediction_from_table, prediction_table

PREDICTION = Prediction(
    step_seconds=0.125,
    interval=(0.1, 0.15),
    terms=Terms(compute=0.1, bubble=0.0125, optimizer=0.0025, exposed={"data": 0.01, "tensor": 0.0}),
    memory_bytes=(100, 200),
    weight_bytes=(10, 20),
    gradient_bytes=(10, 20),
    optimizer_bytes=(20, 40),
    activation_bytes=(60, 120),
    flops=(10**15, 2 * 10**15),
    collectives=((Traffic(axis="data", kind="all_reduce", bytes=4096, count=2),), ()),
)


def test_it_survives_json():
    assert prediction_from_table(json.loads(json.dumps(prediction_table(PREDICTION)))) == PREDICTION


def test_it_survives_toml():
    assert prediction_from_table(tomllib.loads(tomli_w.dumps(prediction_table(PREDICTION)))) == PREDICTION


def test_it_counts_its_ranks():
    assert PREDICTION.ranks == 2


@pytest.mark.parametrize("key", ["step_seconds", "interval", "terms", "flops", "weight_bytes", "collectives"])
def test_what_is_missing_is_named(key):
    table = prediction_table(PREDICTION)
    del table[key]
    with pytest.raises(UnusableInput, match=key):
        prediction_from_table(table)


@pytest.mark.parametrize(
    ("key", "value"), [("interval", [1.0]), ("terms", 3), ("collectives", [[7]]), ("flops", 5), ("step_seconds", "x")]
)
def test_what_is_malformed_is_refused(key, value):
    with pytest.raises(UnusableInput, match="malformed"):
        prediction_from_table({**prediction_table(PREDICTION), key: value})

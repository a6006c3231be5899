"""What is advised against too many bytes is what the plan has not done yet and can do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.planner.fewer import (
    Case,
    always,
    fewer,
    no_compression,
    offload,
    ranks_along,
    recompute,
    sequence_parallel,
    sgd,
    smaller_microbatch,
    zero,
)
from plait.plans.plan import Plan
from tests.planner.test_search import MODEL  # four layers of four heads

PLAN = Plan(data=2, tensor=2, stages=(4,), microbatch=2)
ASIDE = always("a smaller model")


def left(remedy, *, adamw=True, apart=True, **keys):
    return remedy(Case(replace(PLAN, **keys), MODEL, adamw, apart))


@pytest.mark.parametrize(
    ("remedy", "words", "has"),
    [
        (zero(2), "zero = 2", {"zero": 2}),
        (zero(2), "zero = 2", {"zero": 3}),
        (zero(1), "zero = 1", {"data": 1}),
        (zero(1), "zero = 1", {"compression": "int8"}),
        (zero(1), "zero = 1", {"synchronisation": "local-sgd"}),
        (offload, "offload", {"offload": "optimizer"}),
        (offload, "offload", {"apart": False}),
        (sgd, "sgd", {"adamw": False}),
        (recompute, "full recompute", {"recompute": "full"}),
        (sequence_parallel, "sequence_parallel", {"sequence_parallel": True}),
        (sequence_parallel, "sequence_parallel", {"tensor": 1}),
        (smaller_microbatch, "a smaller microbatch", {"microbatch": 1}),
    ],
)
def test_what_a_plan_has_or_can_t_have_is_left_out(remedy, words, has):
    assert left(remedy) == words
    assert left(remedy, **has) is None


def test_compression_is_given_up_where_there_is_some():
    assert left(no_compression) is None
    assert left(no_compression, compression="int8") == "no compression"
    assert left(no_compression, compression="int8", data=1) is None


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "more tensor or pipeline ranks"),
        ({"tensor": 4}, "more pipeline ranks"),  # a head each
        ({"pipeline": 4, "stages": (1,) * 4}, "more tensor ranks"),  # a layer each
        ({"data": 1}, "more ranks"),  # replicas have none to give
        ({"data": 3}, "more pipeline ranks"),  # only three times as many, and 6 tensor ranks are more than the heads
        ({"data": 1, "context": 2}, "more tensor or pipeline ranks"),
        ({"tensor": 4, "pipeline": 4, "stages": (1,) * 4}, None),
    ],
)
def test_ranks_come_from_other_axes_as_long_as_each_has_a_part_of_the_model(keys, words):
    assert left(ranks_along("tensor", "pipeline"), **keys) == words


def test_ranks_of_a_pipeline_may_split_products():
    deep = {"data": 1, "tensor": 1, "pipeline": 4, "stages": (1,) * 4}
    assert left(ranks_along("tensor"), **deep) == "more tensor ranks"
    assert left(ranks_along("tensor", "pipeline"), **deep) == "more ranks"


def test_they_are_told_in_a_row():
    case = Case(PLAN, MODEL, adamw=True, apart=True)
    assert fewer((zero(1), sgd, ASIDE), case) == "zero = 1, sgd, or a smaller model"
    assert fewer((sgd, ASIDE), case) == "sgd, or a smaller model"
    assert fewer((sgd, ASIDE), case._replace(adamw=False)) == "a smaller model"

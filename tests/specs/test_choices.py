"""What is built is taken, what is to come is refused by name, what is neither gets the nearest."""

import pytest

from plait.plans.plan import Plan
from plait.schedules.registry import BUILT
from plait.specs.choices import CHOICES, COMING_KEYS, ELSEWHERE, judge
from plait.specs.model import ModelSpec
from plait.specs.tables import known_keys
from plait.specs.training import PRECISIONS, TrainingSpec


@pytest.mark.parametrize("key", CHOICES)
def test_what_is_built_is_taken(key):
    values = (*CHOICES[key].built, *CHOICES[key].sometimes)
    assert [judge(key, value, here=key not in ELSEWHERE) for value in values] == [None for _ in values]


@pytest.mark.parametrize("key", [key for key in CHOICES if CHOICES[key].coming])
def test_what_is_to_come_is_refused(key):
    for value in [value for value in CHOICES[key].coming[:5] if value not in CHOICES[key].built]:
        assert judge(key, value, here=False) is None
        problem = judge(key, value)
        assert problem is not None
        assert "not built yet" in problem.message
        assert problem.legal == CHOICES[key].built


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("plan.compression", "powersgd:0", "rank 0"),
        ("plan.compression", "topk", "takes a number"),
        ("plan.compression", "int9", "nearest is int8"),
        ("plan.schedule", "my/grid.txt", "no grid that can be read"),
        ("plan.schedule", "1f1f", "nearest is 1f1b"),
        ("model.family", "gtp", "nearest is gpt"),
        ("model.positions", "rotary", "nearest"),
        ("cluster.name", "dgx", "not built yet"),
        ("cluster.device", "a100", "nearest is a100-"),
        ("cluster.intra_link", "nvlink3", "there is no device"),
        ("cluster.inter_link", "ib-hrd-x8", "nearest is ib-hdr"),
    ],
)
def test_forms_and_slips(key, value, said):
    problem = judge(key, value)
    assert problem is not None
    assert said in problem.message


@pytest.mark.parametrize("key", COMING_KEYS)
def test_keys_without_a_part_are_refused_whatever_their_value(key):
    assert "not built yet" in getattr(judge(key, "x"), "message", "")
    assert judge(key, "x", here=False) is None


def test_a_slip_is_refused_wherever_it_is_to_run():
    for key, value in [("plan.recompute", "som"), ("plan.schedule", "my/grid.txt"), ("model.family", "gtp")]:
        assert judge(key, value, here=False) is not None
    assert judge("cluster.name", "dgx", here=False) is None


def test_any_other_key_takes_what_it_likes():
    assert judge("model.layers", 7) is None


def test_they_are_keys_of_the_contract():
    for key in (*CHOICES, *COMING_KEYS):
        table, _, name = key.rpartition(".")
        assert name in known_keys(table)


def test_what_is_built_is_what_the_rooms_have():
    assert CHOICES["plan.schedule"].built == BUILT
    assert set(CHOICES["training.precision"].built) == set(PRECISIONS)


def test_every_default_is_built():
    shape = ModelSpec(layers=1, hidden=2, heads=1, kv_heads=1, ffn=1, vocab=1, max_positions=1)
    parts = {"plan": Plan(stages=(1,)), "model": shape, "training": TrainingSpec()}
    for key, choice in CHOICES.items():
        table, _, name = key.partition(".")
        if table in parts:
            assert getattr(parts[table], name) in choice.built

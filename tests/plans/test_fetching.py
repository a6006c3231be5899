"""The weights of the layer in use and of the next are there, never more, and none is fetched twice for nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from plait.layers.gpt import describe_gpt
from plait.plans.fetching import turns, units, uses
from plait.plans.holdings import held_weights
from plait.plans.plan import Plan
from plait.schedules.action import Kind
from plait.schedules.registry import build_schedule
from plait.specs.model import ModelSpec

TIED = ModelSpec(
    layers=3, hidden=8, heads=2, kv_heads=2, ffn=16, vocab=11, positions="learned", norm="layer", activation="gelu",
    bias=True, tie_embeddings=True, max_positions=16,
)  # fmt: skip
LAYERS = describe_gpt(TIED)
UNITS = units(LAYERS, held_weights(LAYERS, Plan(stages=(3,)), 0))


def walked(program, layers=LAYERS, known=UNITS):
    return list(turns(known, list(uses([layers], [(0, kind) for kind in program]))))


def test_a_table_of_two_layers_is_a_unit_of_its_own():
    assert [unit.places for unit in UNITS] == [(0, 4), (0,), (1,), (2,), (3,), (4,)]
    assert [one.weight.name for one in UNITS[0].weights] == ["transformer.wte.weight"]
    names = [one.weight.name for unit in UNITS for one in unit.weights]
    assert sorted(names) == sorted({weight.name for layer in LAYERS for weight in layer.weights})


def test_forward_and_backward_fetch_what_the_drawing_says():
    blocks = LAYERS[1:4]
    known = units(blocks, held_weights(blocks, Plan(stages=(3,)), 0))
    found = walked([Kind.F, Kind.B], blocks, known)
    assert [turn.place for turn in found] == [0, 1, 2, 2, 1, 0]
    assert [turn.there for turn in found] == [(0, 1), (1, 2), (1, 2), (1, 2), (0, 1), (0,)]
    assert [turn.fetched for turn in found] == [(0, 1), (2,), (), (), (0,), ()]


def test_the_embedding_needs_no_weights_in_backward():
    assert list(uses([LAYERS], [(0, Kind.F), (0, Kind.B)])) == [0, 1, 2, 3, 4, 4, 3, 2, 1]
    assert list(uses([LAYERS], [(0, kind) for kind in (Kind.RECV_F, Kind.F, Kind.SEND_F)])) == [0, 1, 2, 3, 4]


@given(st.sampled_from(["gpipe", "1f1b"]), st.integers(1, 4), st.integers(1, 6))
def test_what_is_needed_is_there_and_of_two_layers_at_most(kind, stages, microbatches):
    for program in build_schedule(kind, stages, microbatches).programs:
        there: set[int] = set()
        order = list(uses([LAYERS], [(0, action.kind) for step in program for action in step]))
        for number, turn in enumerate(turns(UNITS, order)):
            assert set(turn.dropped) <= there
            there -= set(turn.dropped)
            assert not set(turn.fetched) & there
            there |= set(turn.fetched)
            assert there == set(turn.there) >= set(turn.needed)
            following = next((place for place in order[number:] if place != turn.place), None)
            assert all({turn.place, following} & set(UNITS[n].places) for n in there)

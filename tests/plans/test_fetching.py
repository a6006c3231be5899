"""The weights of the layer in use and of the next are there, never more, and none is fetched twice for nothing."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from plait.layers.gpt import describe_gpt
from plait.plans.fetching import fetches, turns, units, uses
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
        whole: set[int] = set()
        order = list(uses([LAYERS], [(0, action.kind) for step in program for action in step]))
        for number, turn in enumerate(turns(UNITS, order)):
            assert set(turn.dropped) <= there
            there -= set(turn.dropped)
            assert not set(turn.fetched) & there
            whole -= set(turn.dropped)
            assert set(turn.arriving) == set(turn.needed) - whole
            assert set(turn.meanwhile) == there | set(turn.arriving)
            whole |= set(turn.needed)
            there |= set(turn.fetched)
            assert there == set(turn.there) >= set(turn.needed)
            following = next((place for place in order[number:] if place != turn.place), None)
            assert all({turn.place, following} & set(UNITS[n].places) for n in there)


@given(
    st.sampled_from([("gpipe", 1), ("1f1b", 1), ("interleaved", 2), ("zb-h1", 1), ("zb-v", 2)]),
    st.integers(1, 4), st.integers(1, 9), st.integers(0, 4), st.integers(2, 5),
)  # fmt: skip
def test_fetches_counted_are_those_of_every_turn(kind, ranks, microbatches, first, layers):
    name, each = kind
    members = LAYERS[first : first + layers]
    middle = len(members) // 2 if each == 2 else len(members)
    parts = [part for part in (members[:middle], members[middle:]) if part]
    if len(parts) < each:
        return
    known = units(members, held_weights(members, Plan(stages=(3,)), 0))
    schedule = build_schedule(name, ranks, microbatches, each)
    for place, program in enumerate(schedule.programs):
        here = [stage for stage, at in enumerate(schedule.stage_rank) if at == place]
        turn_of = {stage: turn for turn, stage in enumerate(here)}
        actions = [(turn_of[action.stage], action.kind) for step in program for action in step]
        found = fetches(known, parts, actions)
        order = list(uses(parts, actions))
        whens = [one[1] for one in actions for _ in uses(parts, [one])]
        walked = list(zip(turns(known, order), whens, strict=True))
        assert found.counts == Counter((number, when) for turn, when in walked for number in turn.fetched)
        assert found.there == {turn.there for turn, _ in walked}
        assert found.arriving == {(turn.arriving, turn.meanwhile) for turn, _ in walked if turn.arriving}


def test_what_is_put_together_stands_beside_what_is_kept_and_not_beside_what_comes_next():
    blocks = LAYERS[1:4]
    known = units(blocks, held_weights(blocks, Plan(stages=(3,)), 0))
    found = walked([Kind.F, Kind.B], blocks, known)
    assert [turn.arriving for turn in found] == [(0,), (1,), (2,), (), (), (0,)]
    assert [turn.meanwhile for turn in found] == [(0,), (1,), (1, 2), (1, 2), (1,), (0,)]
